/**
 * Writes a checkpoint of random weights in Kyutai's PyTorch layout: true names, shapes and sizes, so
 * that speed and memory can be measured, and code be tested, where no trained weights are at hand.
 *
 * The same architecture and seed give the same bytes everywhere. Files are streamed: memory is a few
 * blocks whatever the size.
 */
import { open, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseMimiConfig, readMimiConfig } from '../checkpoints/mimi-config.ts';
import { makeCheckpointFolder } from '../checkpoints/new-checkpoint-folder.ts';
import { elementCount } from '../onnx/data-types.ts';
import type { Architecture } from './architectures.ts';
import { languageModelTensors } from './language-model-tensors.ts';
import { mimiTensors } from './mimi-tensors.ts';
import { RandomValues, streamKey } from './random-values.ts';
import type { GeneratedTensor, Spelling } from './tensor-list.ts';
import { tokenizerModel } from './tokenizer-model.ts';

/** Even, and large enough that the disk is what takes the time. */
const BLOCK_ELEMENTS = 1 << 21;
const HEADER_ALIGNMENT_BYTES = 8;
/** config.json, tokenizer and headers. */
const SMALL_FILES_BYTES = 4_000_000;

const ELEMENT_BYTES = { F32: 4, BF16: 2 };
type StoredType = keyof typeof ELEMENT_BYTES;

export type GenerateOptions = {
  readonly architecture: Architecture;
  /** 32 bits. */
  readonly seed: number;
  /** A folder that is empty or does not exist; appears when everything is written. */
  readonly directory: string;
  /** Of attention weights and codebooks; `packed` as published if absent. */
  readonly spelling?: Spelling;
  readonly onProgress?: (writtenBytes: number, totalBytes: number) => void;
};

export type GeneratedCheckpoint = {
  readonly directory: string;
  /** Numbers in the language model's file. */
  readonly parameters: number;
  readonly bytes: number;
};

/** @throws CheckpointError when the folder holds something or the disk has no room. */
export async function generateCheckpoint(options: GenerateOptions): Promise<GeneratedCheckpoint> {
  const { seed, spelling = 'packed' } = options;
  const { config, mimi } = options.architecture;
  const directory = resolve(options.directory);
  const mimiConfig =
    mimi === null
      ? await readMimiConfig(null)
      : parseMimiConfig(mimi, 'generated Mimi configuration');
  const files = [
    {
      name: config.moshi_name,
      type: 'BF16' as const,
      tensors: languageModelTensors(config, spelling),
    },
    { name: config.mimi_name, type: 'F32' as const, tensors: mimiTensors(mimiConfig, spelling) },
  ];
  const bytes = files.reduce((sum, { tensors, type }) => sum + dataBytes(tensors, type), 0);
  await makeCheckpointFolder(directory, bytes + SMALL_FILES_BYTES, async (draft) => {
    const values = new RandomValues();
    let done = 0;
    for (const { name, type, tensors } of files) {
      await writeTensors(join(draft, name), { type, tensors, seed, values }, (written) => {
        done += written;
        options.onProgress?.(done, bytes);
      });
    }
    await writeFile(join(draft, 'config.json'), JSON.stringify(config, null, 1));
    if (config.mimi_config_name !== undefined) {
      await writeFile(join(draft, config.mimi_config_name), JSON.stringify(mimi, null, 1));
    }
    await writeFile(join(draft, config.tokenizer_name), tokenizerModel(config.text_card));
  });
  const [languageModel] = files;
  return { directory, parameters: parameterCount(languageModel?.tensors ?? []), bytes };
}

export function parameterCount(tensors: readonly GeneratedTensor[]): number {
  return tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

function dataBytes(tensors: readonly GeneratedTensor[], type: StoredType): number {
  return parameterCount(tensors) * ELEMENT_BYTES[type];
}

async function writeTensors(
  path: string,
  {
    type,
    tensors,
    seed,
    values,
  }: { type: StoredType; tensors: readonly GeneratedTensor[]; seed: number; values: RandomValues },
  onWritten: (bytes: number) => void,
): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await file.writeFile(safetensorsHeader(tensors, type));
    // One block is computed while the other is on its way to the disk.
    const blocks = [0, 1].map(() => new ArrayBuffer(BLOCK_ELEMENTS * ELEMENT_BYTES[type]));
    let turn = 0;
    let writing: Promise<unknown> = Promise.resolve();
    for (const tensor of tensors) {
      const count = elementCount(tensor.shape);
      const key = streamKey(seed, tensor.stream);
      for (let first = 0; first < count; first += BLOCK_ELEMENTS) {
        const elements = Math.min(BLOCK_ELEMENTS, count - first);
        const block = blocks[turn] ?? new ArrayBuffer(0);
        turn = 1 - turn;
        if (type === 'F32') {
          const words = new Float32Array(block, 0, elements);
          values.fillFloats(words, key, tensor.start + first, tensor);
        } else {
          const words = new Uint16Array(block, 0, elements);
          values.fillBfloats(words, key, tensor.start + first, tensor);
        }
        await writing;
        const bytes = new Uint8Array(block, 0, elements * ELEMENT_BYTES[type]);
        writing = file.writeFile(bytes);
        // Heard by the next turn; until then nobody listens.
        writing.catch(() => undefined);
        onWritten(bytes.length);
      }
    }
    await writing;
  } finally {
    await file.close();
  }
}

function safetensorsHeader(tensors: readonly GeneratedTensor[], type: StoredType): Buffer {
  let offset = 0;
  const entries = tensors.map(({ name, shape }) => {
    const start = offset;
    offset += elementCount(shape) * ELEMENT_BYTES[type];
    return [name, { dtype: type, shape, data_offsets: [start, offset] }] as const;
  });
  const json = Buffer.from(
    JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) }),
  );
  const padded = Math.ceil(json.length / HEADER_ALIGNMENT_BYTES) * HEADER_ALIGNMENT_BYTES;
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded));
  json.copy(header, 8);
  return header;
}
