import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import wavefile from 'wavefile';
import { afterAll, describe, expect, it, test } from 'vitest';
import { decodeWav, encodeWav, readWav, WavError, writeWav } from './wav.ts';

const folder = await mkdtemp(join(tmpdir(), 'wav-'));
afterAll(() => rm(folder, { recursive: true }));

function wavOf(channels: number, rate: number, depth: string, samples: number[] | number[][]) {
  const wav = new wavefile.WaveFile();
  wav.fromScratch(channels, rate, depth, samples as number[]);
  return wav.toBuffer();
}

describe('a WAV file', () => {
  it('of 16 bits is divided by 32,768 exactly', () => {
    const { sampleRate, samples } = decodeWav(wavOf(1, 24_000, '16', [-32_768, 1, 32_767]), 'a');
    expect(sampleRate).toBe(24_000);
    expect([...samples]).toEqual([-1, 1 / 32_768, 32_767 / 32_768]);
  });

  test.each([
    ['8', [0, 128, 192], [-1, 0, 0.5]],
    ['24', [-8_388_608, 0, 4_194_304], [-1, 0, 0.5]],
    ['32', [-2_147_483_648, 0, 1_073_741_824], [-1, 0, 0.5]],
    ['32f', [-1.5, 0, 0.5], [-1.5, 0, 0.5]],
    ['64', [-1.5, 0, 0.5], [-1.5, 0, 0.5]],
  ])('of format %s has full scale 1', (depth, stored, expected) => {
    expect([...decodeWav(wavOf(1, 8_000, depth, stored), 'a').samples]).toEqual(expected);
  });

  test.each([1, 2, 3, 6])('of %i channels is mixed to their mean', (count) => {
    const stored = Array.from({ length: count }, (_, channel) => [channel * 600, 600]);
    const bytes = wavOf(count, 44_100, '16', count === 1 ? stored[0]! : stored);
    const { samples } = decodeWav(bytes, 'a');
    const mean = ((count - 1) / 2) * 600;
    expect(samples[0]).toBeCloseTo(mean / 32_768, 9);
    expect(samples[1]).toBeCloseTo(600 / 32_768, 9);
  });

  test.each(['8a', '8m'])('of telephone format %s is decoded', (depth) => {
    const wav = new wavefile.WaveFile();
    wav.fromScratch(1, 8_000, '16', [0, 8_000, -8_000, 13, -70, 32_767, -32_768]);
    if (depth === '8a') wav.toALaw();
    else wav.toMuLaw();
    const { samples } = decodeWav(wav.toBuffer(), 'a');
    if (depth === '8a') wav.fromALaw();
    else wav.fromMuLaw();
    expect([...samples]).toEqual([...wav.getSamples()].map((sample) => sample / 32_768));
  });

  it('of floating point in an extensible header, as ffmpeg writes it, is read as such', () => {
    const bytes = new Uint8Array(12 + 8 + 40 + 8 + 8);
    const view = new DataView(bytes.buffer);
    const text = (offset: number, value: string) =>
      new TextEncoder().encodeInto(value, bytes.subarray(offset));
    text(0, 'RIFF');
    text(8, 'WAVEfmt ');
    view.setUint32(16, 40, true);
    view.setUint16(20, 0xfffe, true);
    view.setUint16(22, 1, true);
    view.setUint32(24, 48_000, true);
    view.setUint16(34, 32, true);
    view.setUint16(44, 3, true);
    text(60, 'data');
    view.setUint32(64, 8, true);
    view.setFloat32(68, 0.25, true);
    view.setFloat32(72, -1.5, true);
    expect([...decodeWav(bytes, 'a').samples]).toEqual([0.25, -1.5]);
  });

  it('of big-endian order (RIFX) is read', () => {
    const wav = new wavefile.WaveFile();
    wav.fromScratch(1, 8_000, '24', [-8_388_608, 1, 4_194_304], { container: 'RIFX' });
    expect([...decodeWav(wav.toBuffer(), 'a').samples]).toEqual([-1, 2 ** -23, 0.5]);
  });

  it('from a pipe, whose header does not know the length, is read to its end', () => {
    const bytes = wavOf(1, 24_000, '16', [1, 2, 3]).slice();
    const view = new DataView(bytes.buffer);
    view.setUint32(4, 0xffffffff, true);
    view.setUint32(40, 0xffffffff, true);
    expect(decodeWav(bytes, 'a').samples).toHaveLength(3);
  });

  it('comes back to the bit from float32 and to half a step from int16', async () => {
    const samples = Float32Array.from({ length: 500 }, (_, i) => Math.sin(i) * 1.2);
    const path = join(folder, 'x.wav');
    await writeWav(path, { sampleRate: 24_000, samples }, 'float32');
    expect(await readWav(path)).toEqual({ sampleRate: 24_000, samples });
    const rounded = decodeWav(encodeWav({ sampleRate: 24_000, samples }), 'a').samples;
    rounded.forEach((sample, i) => {
      const saturated = Math.max(-1, Math.min(32_767 / 32_768, samples[i]!));
      expect(Math.abs(sample - saturated)).toBeLessThanOrEqual(0.5 / 32_768 + 1e-9);
    });
  });

  it('recorded at 22.05 kHz is read at its own rate', async () => {
    const recording = await readWav('models/fixtures/audio/a.wav');
    expect(recording.sampleRate).toBe(22_050);
    const bytes = await readFile('models/fixtures/audio/a.wav');
    expect(recording.samples.length).toBeGreaterThan((bytes.byteLength - 400) / 2);
  });
});

describe('a file that is no usable WAV', () => {
  const good = wavOf(1, 24_000, '16', [1, 2, 3, 4]);
  const patched = (offset: number, value: number) => {
    const bytes = good.slice();
    new DataView(bytes.buffer).setUint32(offset, value, true);
    return bytes;
  };
  test.each<[string, Uint8Array, RegExp]>([
    ['an empty one', new Uint8Array(0), /not a WAV file: it is empty/],
    ['an MP3', Uint8Array.of(0x49, 0x44, 0x33, 4, 0, 0), /x is not a WAV file: .*MP3.*ffmpeg/],
    ['an Ogg', new TextEncoder().encode('OggS0123456789'), /Ogg/],
    ['text', new TextEncoder().encode('hello, this is a text'), /begins with 68 65 6c 6c/],
    [
      'a truncated one',
      good.slice(0, good.byteLength - 3),
      /promises 8 bytes of sound, 5 are there/,
    ],
    ['one that ends in its header', good.slice(0, 30), /cut short/],
    ['one without samples', wavOf(1, 24_000, '16', []), /without any samples/],
    ['a rate of 0', patched(24, 0), /says 0 Hz/],
    ['an absurd rate', patched(24, 4_000_000_000), /says 4000000000 Hz/],
    ['no channels', patched(20, 1), /says 0 channels/],
    ['an unknown codec', patched(20, 0x1_0055), /codec 0x55 with 16 bits is not supported/],
    ['NaN', wavOf(1, 24_000, '32f', [0, Number.NaN]), /sample 1 is not a finite number/],
  ])('is refused with a reason: %s', (_, bytes, reason) => {
    expect(() => decodeWav(bytes, 'x')).toThrow(WavError);
    expect(() => decodeWav(bytes, 'x')).toThrow(reason);
  });

  it('is refused with its path when it does not exist', async () => {
    await expect(readWav(join(folder, 'none.wav'))).rejects.toThrow(/none\.wav: ENOENT/);
  });

  it('cannot be written where there is no folder', async () => {
    const recording = { sampleRate: 24_000, samples: new Float32Array(1) };
    await expect(writeWav('/nowhere/x.wav', recording)).rejects.toThrow(WavError);
  });
});
