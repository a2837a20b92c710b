/**
 * `cuda install`: fetches what CUDA needs beside onnxruntime-node, from PyPI: the provider of the same
 * release, and NVIDIA's libraries that it is linked with.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { unzipSync } from 'fflate';
import { z } from 'zod';
import { CUDA_DIRECTORY } from '../../../plugins/moshi/engine/onnxruntime/cuda-libraries.ts';
import { CommandError, type CommandContext } from '../command-context.ts';

interface Package {
  name: string;
  version: string;
  /** What is taken out of its wheel. */
  libraries: string[];
}

/** Versions that were seen to load together; the provider must be onnxruntime-node's own release. */
export const CUDA_PACKAGES: readonly Package[] = [
  {
    name: 'onnxruntime-gpu',
    version: '1.30.0',
    libraries: ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'],
  },
  { name: 'nvidia-cuda-runtime', version: '13.5.37', libraries: ['libcudart.so.13'] },
  {
    name: 'nvidia-cublas',
    version: '13.10.0.20',
    libraries: ['libcublasLt.so.13', 'libcublas.so.13'],
  },
  { name: 'nvidia-curand', version: '10.4.5.25', libraries: ['libcurand.so.10'] },
];

const INDEX_ADDRESS = 'https://pypi.org';

/** Of PyPI's simple index (packaging.python.org, "Simple repository API"). */
const FORMAT = 'application/vnd.pypi.simple.v1+json';
const project = z.object({
  files: z.array(
    z.object({
      filename: z.string(),
      url: z.string(),
      hashes: z.object({ sha256: z.string().optional() }),
    }),
  ),
});
type Wheel = { filename: string; url: string; sha256: string };

export interface CudaInstallOptions {
  directory?: string;
  packages?: readonly Package[];
  /** Of the package index, without a slash at the end. */
  address?: string;
}

/** @throws {CommandError} where there is no such wheel, or it arrives damaged. */
export async function installCuda(
  context: Pick<CommandContext, 'print' | 'remark'>,
  {
    directory = CUDA_DIRECTORY,
    packages = CUDA_PACKAGES,
    address = INDEX_ADDRESS,
  }: CudaInstallOptions = {},
): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const one of packages) {
    if (await areThere(directory, one.libraries)) {
      continue;
    }
    const wheel = await findWheel(address, one);
    context.remark(`${one.name} ${one.version} into ${directory} …`);
    await install(directory, one, wheel);
  }
  context.print(`CUDA's libraries are in ${directory}; "doctor --device cuda" tries them`);
}

async function areThere(directory: string, files: readonly string[]): Promise<boolean> {
  const found = files.map((file) =>
    access(path.join(directory, file)).then(
      () => true,
      () => false,
    ),
  );
  return (await Promise.all(found)).every(Boolean);
}

async function findWheel(address: string, { name, version }: Package): Promise<Wheel> {
  const url = `${address}/simple/${name}/`;
  const response = await fetch(url, { headers: { accept: FORMAT } }).catch((error: unknown) => {
    throw new CommandError(`${url} cannot be reached: ${String(error)}`);
  });
  if (!response.ok) {
    throw new CommandError(`${url} answers ${response.status}`);
  }
  const { files } = project.parse(await response.json());
  const wheel = files.find(
    ({ filename }) => filename.split('-')[1] === version && /linux.*_x86_64\.whl$/.test(filename),
  );
  if (wheel?.hashes.sha256 === undefined) {
    throw new CommandError(`${name} ${version} has no wheel for Linux on x86-64`);
  }
  return {
    filename: wheel.filename,
    url: new URL(wheel.url, url).href,
    sha256: wheel.hashes.sha256,
  };
}

async function install(directory: string, one: Package, wheel: Wheel): Promise<void> {
  const file = path.join(directory, `${wheel.filename}.incomplete`);
  try {
    await download(wheel, file);
    const archive = await readFile(file);
    for (const library of one.libraries) {
      const entries = unzipSync(archive, {
        filter: (entry) => path.basename(entry.name) === library,
      });
      const [content] = Object.values(entries);
      if (content === undefined) {
        throw new CommandError(`${wheel.filename} holds no ${library}`);
      }
      // Under its name only when complete.
      await writeFile(path.join(directory, `${library}.incomplete`), content);
      await rename(path.join(directory, `${library}.incomplete`), path.join(directory, library));
    }
  } finally {
    await rm(file, { force: true });
  }
}

async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    yield value;
  }
}

async function download({ url, filename, sha256 }: Wheel, file: string): Promise<void> {
  const response = await fetch(url);
  if (!response.ok || response.body === null) {
    throw new CommandError(`${url} answers ${response.status}`);
  }
  const hash = createHash('sha256');
  const hashed = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  await pipeline(Readable.from(chunksOf(response.body)), hashed, createWriteStream(file));
  if (hash.digest('hex') !== sha256) {
    throw new CommandError(`${filename} arrived damaged: its checksum is not the index's`);
  }
}
