/**
 * Checkpoints beside which lies what a reference recorded: the repository's own fixture of a kind,
 * generated here, and others of that kind where there are any (`MOSHI_TEST_CHECKPOINTS`).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFixture, type FixtureName } from '../fixtures/fixture.ts';

/** The folder of recorded checkpoints that are not part of the repository. */
const OTHERS =
  process.env['MOSHI_TEST_CHECKPOINTS'] ??
  join(import.meta.dirname, '../../../shared/checkpoints');

/** @param directory - Where the fixture may be written; its own name is `tiny-` and the kind. */
export async function recordedCheckpoints(
  kind: FixtureName,
  directory: string,
): Promise<[name: string, folder: string][]> {
  const fixture = join(directory, `tiny-${kind}`);
  if (!existsSync(fixture)) await writeFixture(kind, fixture);
  return [
    ['fixture', fixture],
    ...otherCheckpoints().filter(([, folder]) => kindOf(folder) === kind),
  ];
}

function otherCheckpoints(): [string, string][] {
  if (!existsSync(OTHERS)) return [];
  return readdirSync(OTHERS)
    .map((name): [string, string] => [name, join(OTHERS, name)])
    .filter(([, folder]) =>
      ['config.json', 'expected.safetensors'].every((file) => existsSync(join(folder, file))),
    );
}

function kindOf(folder: string): string {
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as {
    model_type?: string;
  };
  return config.model_type ?? 'moshi';
}
