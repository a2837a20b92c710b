/** WAV files for the commands: any rate, format and channel count in; 24 kHz mono out. */
import { readFile, writeFile } from 'node:fs/promises';
import { decodeTelephone } from './telephone-codes.ts';

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
const PCM = 0x1;
const FLOAT = 0x3;
const A_LAW = 0x6;
const MU_LAW = 0x7;
/** The codec is in the extension, 24 bytes into the chunk. */
const EXTENSIBLE = 0xfffe;
const EXTENSION_OFFSET = 24;

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
  const { format, data, isLittleEndian } = findSound(bytes, name);
  const read = sampleReader(format, data, isLittleEndian, name);
  const { channelCount, bits } = format;
  const frameBytes = (channelCount * bits) / 8;
  const samples = new Float32Array(Math.floor(data.byteLength / frameBytes));
  for (let index = 0; index < samples.length; index += 1) {
    let sum = 0;
    for (let channel = 0; channel < channelCount; channel += 1) {
      sum += read(index * frameBytes + (channel * bits) / 8);
    }
    const sample = sum / channelCount;
    if (!Number.isFinite(sample)) {
      throw new WavError(`${name}: sample ${index} is not a finite number. ${advice(name)}`);
    }
    samples[index] = sample;
  }
  if (samples.length === 0) throw new WavError(`${name} is a WAV file without any samples.`);
  return { sampleRate: format.sampleRate, samples };
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
  const sampleBytes = format === 'int16' ? 2 : 4;
  const headerBytes = RIFF_HEADER_BYTES + 2 * CHUNK_HEADER_BYTES + FORMAT_BYTES;
  const bytes = new Uint8Array(headerBytes + samples.length * sampleBytes);
  const view = new DataView(bytes.buffer);
  const text = new TextEncoder();
  text.encodeInto('RIFF', bytes);
  view.setUint32(4, bytes.byteLength - CHUNK_HEADER_BYTES, true);
  text.encodeInto('WAVEfmt ', bytes.subarray(8));
  view.setUint32(16, FORMAT_BYTES, true);
  view.setUint16(20, format === 'int16' ? PCM : FLOAT, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * sampleBytes, true);
  view.setUint16(32, sampleBytes, true);
  view.setUint16(34, 8 * sampleBytes, true);
  text.encodeInto('data', bytes.subarray(36));
  view.setUint32(40, samples.length * sampleBytes, true);
  samples.forEach((sample, index) => {
    const offset = headerBytes + index * sampleBytes;
    if (format === 'int16') view.setInt16(offset, toInt16(sample), true);
    else view.setFloat32(offset, sample, true);
  });
  return bytes;
}

function toInt16(sample: number): number {
  return Math.max(-32_768, Math.min(32_767, Math.round(sample * 32_768)));
}

type Format = { codec: number; channelCount: number; sampleRate: number; bits: number };

function findSound(
  bytes: Uint8Array,
  name: string,
): { format: Format; data: DataView; isLittleEndian: boolean } {
  const container = textAt(bytes, 0);
  if (
    bytes.byteLength < RIFF_HEADER_BYTES ||
    !['RIFF', 'RIFX'].includes(container) ||
    textAt(bytes, 8) !== 'WAVE'
  ) {
    throw new WavError(`${name} is not a WAV file: it ${beginning(bytes)}. ${advice(name)}`);
  }
  const isLittleEndian = container === 'RIFF';
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let format: Format | undefined;
  let position = RIFF_HEADER_BYTES;
  while (position + CHUNK_HEADER_BYTES <= bytes.byteLength) {
    const id = textAt(bytes, position);
    const size = view.getUint32(position + 4, isLittleEndian);
    const start = position + CHUNK_HEADER_BYTES;
    const present = bytes.byteLength - start;
    if (id === 'fmt ') {
      if (size < FORMAT_BYTES || present < size) {
        throw new WavError(`${name}: its format chunk is cut short. ${advice(name)}`);
      }
      format = readFormat(new DataView(view.buffer, view.byteOffset + start, size), isLittleEndian);
      checkFormat(format, name);
    } else if (id === 'data') {
      if (format === undefined) {
        throw new WavError(`${name} has sound before it says in which format. ${advice(name)}`);
      }
      if (size > present && size !== UNKNOWN_SIZE) {
        throw new WavError(
          `${name} is cut short: its header promises ${size} bytes of sound, ${present} are there. Get a complete copy.`,
        );
      }
      const length = Math.min(size, present);
      const data = new DataView(view.buffer, view.byteOffset + start, length);
      return { format, data, isLittleEndian };
    }
    position = start + size + (size % 2);
  }
  throw new WavError(
    `${name} is cut short: it ends after ${bytes.byteLength} bytes, before any sound. Get a complete copy.`,
  );
}

function readFormat(chunk: DataView, isLittleEndian: boolean): Format {
  const codec = chunk.getUint16(0, isLittleEndian);
  const isExtended = codec === EXTENSIBLE && chunk.byteLength >= EXTENSION_OFFSET + 2;
  return {
    codec: isExtended ? chunk.getUint16(EXTENSION_OFFSET, isLittleEndian) : codec,
    channelCount: chunk.getUint16(2, isLittleEndian),
    sampleRate: chunk.getUint32(4, isLittleEndian),
    bits: chunk.getUint16(14, isLittleEndian),
  };
}

function checkFormat({ sampleRate, channelCount }: Format, name: string): void {
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

/** Returns what reads the sample at a byte offset, full scale 1: n-bit integers over 2^(n − 1), exactly. */
function sampleReader(
  { codec, bits }: Format,
  data: DataView,
  isLittleEndian: boolean,
  name: string,
): (offset: number) => number {
  switch (`${codec}/${bits}`) {
    case `${PCM}/8`:
      return (offset) => (data.getUint8(offset) - 128) / 128;
    case `${PCM}/16`:
      return (offset) => data.getInt16(offset, isLittleEndian) / 2 ** 15;
    case `${PCM}/24`:
      return isLittleEndian
        ? (offset) => (data.getInt8(offset + 2) * 65_536 + data.getUint16(offset, true)) / 2 ** 23
        : (offset) => (data.getInt16(offset) * 256 + data.getUint8(offset + 2)) / 2 ** 23;
    case `${PCM}/32`:
      return (offset) => data.getInt32(offset, isLittleEndian) / 2 ** 31;
    case `${FLOAT}/32`:
      return (offset) => data.getFloat32(offset, isLittleEndian);
    case `${FLOAT}/64`:
      return (offset) => data.getFloat64(offset, isLittleEndian);
    case `${A_LAW}/8`:
      return (offset) => decodeTelephone('a-law', data.getUint8(offset));
    case `${MU_LAW}/8`:
      return (offset) => decodeTelephone('mu-law', data.getUint8(offset));
    default:
      throw new WavError(
        `${name}: sound of codec 0x${codec.toString(16)} with ${bits} bits is not supported, only PCM of 8, 16, 24 and 32 bits, floating point, A-law and µ-law. ${advice(name)}`,
      );
  }
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
