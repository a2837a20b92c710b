import koffi from 'koffi';
import { expect, test } from 'vitest';

import { addressOf } from './c-api.ts';
import { StagedTensors, type Copier } from './staged-tensors.ts';
import { HostTensor } from './tensor.ts';

/** A stub: blocks of this process in place of a device's, and copies at once. */
function stubDevice(): { copier: Copier; copies: number[]; blocks: Map<bigint, Uint8Array> } {
  const blocks = new Map<bigint, Uint8Array>();
  const copies: number[] = [];
  const allocate = (bytes: number): bigint => {
    const block = new Uint8Array(bytes);
    blocks.set(addressOf(block), block);
    return addressOf(block);
  };
  const free = (address: bigint): void => {
    blocks.delete(address);
  };
  const bytesAt = (address: bigint, length: number): Uint8Array =>
    new Uint8Array(koffi.view(address, length));
  const copier: Copier = {
    allocate,
    free,
    allocateHost: allocate,
    freeHost: free,
    enqueueCopy: (to, from, bytes) => {
      copies.push(bytes);
      bytesAt(to, bytes).set(bytesAt(from, bytes));
    },
  };
  return { copier, copies, blocks };
}

function tensors(): HostTensor[] {
  const pcm = new HostTensor({ type: 'float32', rowShape: [3] }, 4);
  pcm.float32().set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  const mask = new HostTensor({ type: 'bool', rowShape: [] }, 4);
  mask.bool().set([1, 0, 1, 1]);
  const token = new HostTensor({ type: 'int64', rowShape: [] }, 4);
  token.int64().set([-1n, 5n, 6n, 7n]);
  return [pcm, mask, token];
}

test('the first rows of all tensors cross in one copy, and each begins where kernels may read it', () => {
  const { copier, copies } = stubDevice();
  const staged = new StagedTensors(
    copier,
    tensors().map((tensor) => ({ tensor, batch: 2 })),
  );
  staged.send();
  expect(copies).toEqual([staged.bytes]);
  const [pcm, mask, token] = staged.addresses as [bigint, bigint, bigint];
  expect([mask - pcm, token - pcm]).toEqual([256n, 512n]);
  expect([...new Float32Array(koffi.view(pcm, 24))]).toEqual([1, 2, 3, 4, 5, 6]);
  expect([...new Uint8Array(koffi.view(mask, 2))]).toEqual([1, 0]);
  expect([...new BigInt64Array(koffi.view(token, 16))]).toEqual([-1n, 5n]);
});

test('what comes back is handed out to the first rows, and only when it has arrived', () => {
  const { copier, copies, blocks } = stubDevice();
  const [pcm, mask, token] = tensors() as [HostTensor, HostTensor, HostTensor];
  const staged = new StagedTensors(
    copier,
    [pcm, mask, token].map((tensor) => ({ tensor, batch: 2 })),
  );
  const [first, , last] = staged.addresses as [bigint, bigint, bigint];
  new Float32Array(koffi.view(first, 24)).fill(0.5);
  new BigInt64Array(koffi.view(last, 16)).fill(9n);
  staged.receive();
  expect(copies).toEqual([staged.bytes]);
  expect(token.int64()[0]).toBe(-1n);
  staged.arrive();
  expect([...pcm.float32()]).toEqual([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 7, 8, 9, 10, 11, 12]);
  expect([...mask.bool()]).toEqual([0, 0, 1, 1]);
  expect([...token.int64()]).toEqual([9n, 9n, 6n, 7n]);
  staged.dispose();
  expect(blocks.size).toBe(0);
});
