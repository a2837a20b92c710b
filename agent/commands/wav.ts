/** WAV files for the commands: any rate, format and channel count in; 24 kHz mono out. */
import { readFile, writeFile } from 'node:fs/promises';
import wavefile from 'wavefile';

/** Rates beyond these are a broken header, not a recording. */
const LOWEST_RATE = 1_000;
const HIGHEST_RATE = 768_000;
const MOST_CHANNELS = 64;
const RIFF_HEADER_BYTES = 12;
const CHUNK_HEADER_BYTES = 8;
const FORMAT_BYTES = 16;
/** What programs write that send a WAV down a pipe and do not know its length. */
const UNKNOWN_SIZE = 0xffffffff;
/** The codec field of the format chunk. */
const CODECS: Record<number, string> = {
  0x1: 'PCM',
  0x3: 'floating point',
  0x6: 'A-law',
  0x7: 'µ-law',
  0x11: 'IMA ADPCM',
  0xfffe: 'extensible',
};

export type Recording = {
  /** Hz. */
  sampleRate: number;
  /** Mean of all channels, full scale 1. Floating-point files keep their values, also beyond ±1. */
  samples: Float32Array;
};

/** A file that cannot be used as a recording; the message says what was found and what to do. */
export class WavError extends Error {
  override readonly name = 'WavError';
}

/** @throws WavError if the file cannot be read, is no WAV, is cut short or holds no samples. */
export async function readWav(path: string): Promise<Recording> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new WavError(`Cannot read ${path}: ${reason}`, { cause });
  }
  return decodeWav(bytes, path);
}

/**
 * @param name - What the messages call the file.
 * @throws WavError if the bytes are no WAV, are cut short or hold no samples.
 */
export function decodeWav(bytes: Uint8Array, name: string): Recording {
  const { whole, sampleRate, channelCount } = checkHeader(bytes, name);
  const wav = new wavefile.WaveFile();
  let channels: Float64Array[];
  try {
    wav.fromBuffer(whole);
    if (wav.bitDepth === '4') wav.fromIMAADPCM();
    else if (wav.bitDepth === '8a') wav.fromALaw();
    else if (wav.bitDepth === '8m') wav.fromMuLaw();
    channels = channelsOf(wav.getSamples(false), channelCount);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new WavError(`${name} cannot be decoded: ${reason}. ${advice(name)}`, { cause });
  }
  const samples = mixDown(channels, wav.bitDepth);
  if (samples.length === 0) throw new WavError(`${name} is a WAV file without any samples.`);
  const broken = samples.findIndex((sample) => !Number.isFinite(sample));
  if (broken !== -1) {
    throw new WavError(`${name}: sample ${broken} is not a finite number. ${advice(name)}`);
  }
  return { sampleRate, samples };
}

/**
 * @param format - `int16` rounds to the nearest of 65,536 steps and saturates; `float32` keeps every bit.
 * @throws WavError if the file cannot be written.
 */
export async function writeWav(
  path: string,
  recording: Recording,
  format: 'int16' | 'float32' = 'int16',
): Promise<void> {
  try {
    await writeFile(path, encodeWav(recording, format));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new WavError(`Cannot write ${path}: ${reason}`, { cause });
  }
}

/** The bytes that `writeWav` writes. */
export function encodeWav(
  { sampleRate, samples }: Recording,
  format: 'int16' | 'float32' = 'int16',
): Uint8Array {
  const wav = new wavefile.WaveFile();
  if (format === 'float32') wav.fromScratch(1, sampleRate, '32f', samples);
  else wav.fromScratch(1, sampleRate, '16', samples.map(toInt16));
  return wav.toBuffer();
}

function toInt16(sample: number): number {
  return Math.max(-32_768, Math.min(32_767, Math.round(sample * 32_768)));
}

/**
 * Walks the chunks, because the decoder takes a cut file or an absurd header for a valid one.
 *
 * `whole` is `bytes` with an unknown length replaced by what is there.
 */
function checkHeader(
  bytes: Uint8Array,
  name: string,
): { whole: Uint8Array; sampleRate: number; channelCount: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const container = textAt(bytes, 0);
  if (
    bytes.byteLength < RIFF_HEADER_BYTES ||
    !['RIFF', 'RIFX', 'RF64'].includes(container) ||
    textAt(bytes, 8) !== 'WAVE'
  ) {
    throw new WavError(`${name} is not a WAV file: it ${beginning(bytes)}. ${advice(name)}`);
  }
  const isLittleEndian = container !== 'RIFX';
  let format: { sampleRate: number; channelCount: number } | undefined;
  let position = RIFF_HEADER_BYTES;
  while (position + CHUNK_HEADER_BYTES <= bytes.byteLength) {
    const id = textAt(bytes, position);
    const size = view.getUint32(position + 4, isLittleEndian);
    const start = position + CHUNK_HEADER_BYTES;
    const present = bytes.byteLength - start;
    if (id === 'fmt ') {
      if (size < FORMAT_BYTES || present < FORMAT_BYTES) {
        throw new WavError(`${name}: its format chunk is cut short. ${advice(name)}`);
      }
      checkCodec(view.getUint16(start, isLittleEndian), name);
      format = {
        channelCount: view.getUint16(start + 2, isLittleEndian),
        sampleRate: view.getUint32(start + 4, isLittleEndian),
      };
      checkFormat(format, name);
    } else if (id === 'data') {
      if (format === undefined) {
        throw new WavError(`${name} has sound before it says in which format. ${advice(name)}`);
      }
      const isUnknown = size === UNKNOWN_SIZE && container !== 'RF64';
      if (!isUnknown && size !== UNKNOWN_SIZE && size > present) {
        throw new WavError(
          `${name} is cut short: its header promises ${size} bytes of sound, ${present} are there. Get a complete copy.`,
        );
      }
      return { whole: isUnknown ? withDataSize(bytes, position, present) : bytes, ...format };
    }
    position = start + size + (size % 2);
  }
  throw new WavError(
    `${name} is cut short: it ends after ${bytes.byteLength} bytes, before any sound. Get a complete copy.`,
  );
}

function checkCodec(codec: number, name: string): void {
  if (!(codec in CODECS)) {
    throw new WavError(
      `${name}: its sound is packed by codec 0x${codec.toString(16)}, which is not supported (only ${Object.values(CODECS).join(', ')}). ${advice(name)}`,
    );
  }
}

function checkFormat(
  { sampleRate, channelCount }: { sampleRate: number; channelCount: number },
  name: string,
): void {
  if (sampleRate < LOWEST_RATE || sampleRate > HIGHEST_RATE) {
    throw new WavError(
      `${name}: its header says ${sampleRate} Hz, expected ${LOWEST_RATE} to ${HIGHEST_RATE}. ${advice(name)}`,
    );
  }
  if (channelCount < 1 || channelCount > MOST_CHANNELS) {
    throw new WavError(
      `${name}: its header says ${channelCount} channels, expected 1 to ${MOST_CHANNELS}. ${advice(name)}`,
    );
  }
}

function withDataSize(bytes: Uint8Array, position: number, size: number): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  const isLittleEndian = textAt(bytes, 0) !== 'RIFX';
  view.setUint32(4, copy.byteLength - CHUNK_HEADER_BYTES, isLittleEndian);
  view.setUint32(position + 4, size, isLittleEndian);
  return copy;
}

/** The decoder returns one array for one channel and an array of arrays for several. */
function channelsOf(decoded: unknown, channelCount: number): Float64Array[] {
  const channels: unknown[] =
    channelCount > 1 && Array.isArray(decoded) ? (decoded as unknown[]) : [decoded];
  return channels.filter((channel) => channel instanceof Float64Array);
}

function mixDown(channels: Float64Array[], bitDepth: string): Float32Array {
  const { scale, offset } = fullScale(bitDepth);
  const samples = new Float32Array(channels[0]?.length ?? 0);
  for (let index = 0; index < samples.length; index += 1) {
    let sum = 0;
    for (const channel of channels) sum += ((channel[index] ?? 0) - offset) * scale;
    samples[index] = sum / channels.length;
  }
  return samples;
}

/** What turns stored values into ±1. Integers of n bits are divided by 2^(n − 1), exactly. */
function fullScale(bitDepth: string): { scale: number; offset: number } {
  if (bitDepth === '32f' || bitDepth === '64') return { scale: 1, offset: 0 };
  const bits = Number.parseInt(bitDepth, 10);
  // Up to 8 bits WAV stores unsigned values.
  return { scale: 2 ** (1 - bits), offset: bits <= 8 ? 2 ** (bits - 1) : 0 };
}

function textAt(bytes: Uint8Array, position: number): string {
  return String.fromCharCode(...bytes.subarray(position, position + 4));
}

function beginning(bytes: Uint8Array): string {
  if (bytes.byteLength === 0) return 'is empty';
  const start = bytes.subarray(0, 4);
  if (textAt(bytes, 0) === 'OggS') return 'begins like an Ogg file';
  if (textAt(bytes, 0) === 'fLaC') return 'begins like a FLAC file';
  if (textAt(bytes, 0).startsWith('ID3')) return 'begins like an MP3 file (ID3)';
  if (start[0] === 0xff && ((start[1] ?? 0) & 0xe0) === 0xe0) return 'begins like an MP3 file';
  const hex = Array.from(start, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return `begins with ${hex} instead of RIFF … WAVE`;
}

function advice(name: string): string {
  return `Convert it, for example: ffmpeg -i ${JSON.stringify(name)} -ar 24000 -ac 1 converted.wav`;
}
