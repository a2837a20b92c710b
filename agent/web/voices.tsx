/**
 * The one picture of this page: two voices on one line of time.
 *
 * Both bands grow from the same axis and run from right (now) to left (some seconds ago). Where both
 * talk, the bands lie over each other and their colours mix: that is what full duplex looks like.
 */
import { useEffect, useRef } from 'react';

/** Loudness of both sides, 0 … 1. */
export interface Levels {
  agent: number;
  user: number;
}

/** Columns of history; at 24 a second they cover 8 s. */
const COLUMNS = 192;
const COLUMN_MS = 1000 / 24;

interface VoicesProps {
  /** Asked at every column; the argument is the page's clock, milliseconds. */
  readLevels: (timeMs: number) => Levels;
  /** For people who want no motion: the last seconds as they are, or a meter of this moment. */
  withoutMotion: 'picture' | 'meter';
}

export function Voices({ readLevels, withoutMotion }: VoicesProps) {
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext('2d');
    if (element === null || context === null || context === undefined) {
      return;
    }
    const history = new History();
    const reducedMotion = window.matchMedia('(prefers-reduced-motion: reduce)');
    let request = 0;
    let isDrawn = false;
    let nextColumnMs = performance.now() - COLUMNS * COLUMN_MS;

    const draw = (nowMs: number) => {
      request = requestAnimationFrame(draw);
      if (nowMs - nextColumnMs > 2 * COLUMNS * COLUMN_MS) {
        // The tab was hidden: the past is not worth catching up with.
        nextColumnMs = nowMs - COLUMN_MS;
      }
      let isNew = false;
      while (nextColumnMs <= nowMs) {
        history.push(readLevels(nextColumnMs));
        nextColumnMs += COLUMN_MS;
        isNew = true;
      }
      if (reducedMotion.matches && (!isNew || (isDrawn && withoutMotion === 'picture'))) {
        return;
      }
      isDrawn = true;
      fit(element);
      const scroll = reducedMotion.matches ? 0 : (nextColumnMs - nowMs) / COLUMN_MS;
      paint(context, history, scroll, reducedMotion.matches && withoutMotion === 'meter');
    };
    request = requestAnimationFrame(draw);
    return () => cancelAnimationFrame(request);
  }, [readLevels, withoutMotion]);

  return <canvas ref={canvas} className="voices" aria-hidden="true" />;
}

/** The last columns of both voices, newest last. */
class History {
  readonly agent = new Float32Array(COLUMNS);
  readonly user = new Float32Array(COLUMNS);

  push(levels: Levels): void {
    append(this.agent, levels.agent);
    append(this.user, levels.user);
  }
}

function append(column: Float32Array, level: number): void {
  const last = column[COLUMNS - 1] ?? 0;
  column.copyWithin(0, 1);
  // Up at once, down gently: syllables read as one phrase.
  column[COLUMNS - 1] = Math.max(level, last * 0.62);
}

/** Keeps the canvas as sharp as the screen. */
function fit(element: HTMLCanvasElement): void {
  const ratio = Math.min(window.devicePixelRatio, 2);
  const width = Math.round(element.clientWidth * ratio);
  const height = Math.round(element.clientHeight * ratio);
  if (element.width !== width || element.height !== height) {
    element.width = width;
    element.height = height;
  }
}

function paint(
  context: CanvasRenderingContext2D,
  history: History,
  scroll: number,
  isStill: boolean,
): void {
  const { width, height } = context.canvas;
  const style = getComputedStyle(context.canvas);
  context.clearRect(0, 0, width, height);
  context.globalCompositeOperation = 'source-over';
  const blend = style.getPropertyValue('--blend').trim();
  const bands = [
    { levels: history.agent, color: style.getPropertyValue('--agent').trim() },
    { levels: history.user, color: style.getPropertyValue('--user').trim() },
  ];
  for (const [index, { levels, color }] of bands.entries()) {
    if (index > 0 && (blend === 'multiply' || blend === 'screen')) {
      context.globalCompositeOperation = blend;
    }
    context.fillStyle = color;
    context.beginPath();
    // Without motion the newest level fills the line: a meter instead of a scroll.
    trace(context, isStill ? levels.slice().fill(levels[COLUMNS - 1] ?? 0) : levels, scroll);
    context.fill();
  }
}

/** A closed, smooth band around the middle of the canvas. */
function trace(context: CanvasRenderingContext2D, levels: Float32Array, scroll: number): void {
  const { width, height } = context.canvas;
  const middle = height / 2;
  const step = width / (COLUMNS - 2);
  const thin = Math.max(1, height / 220);
  const x = (index: number) => (index - 1 + scroll) * step;
  const reach = (index: number) => thin + (levels[index] ?? 0) * (middle - thin);

  context.moveTo(x(0), middle - reach(0));
  for (let index = 1; index < COLUMNS; index += 1) {
    curve(context, x(index - 1), x(index), middle - reach(index - 1), middle - reach(index));
  }
  context.lineTo(x(COLUMNS - 1), middle + reach(COLUMNS - 1));
  for (let index = COLUMNS - 2; index >= 0; index -= 1) {
    curve(context, x(index + 1), x(index), middle + reach(index + 1), middle + reach(index));
  }
  context.closePath();
}

/** From one column to the next with level ends, so that the outline has no corners. */
function curve(
  context: CanvasRenderingContext2D,
  fromX: number,
  toX: number,
  fromY: number,
  toY: number,
): void {
  const halfway = (fromX + toX) / 2;
  context.bezierCurveTo(halfway, fromY, halfway, toY, toX, toY);
}
