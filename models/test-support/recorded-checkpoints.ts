/**
 * Checkpoints beside which lies what a reference recorded: the repository's own fixture of a kind,
 * generated here, and others of that kind where there are any.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFixture, type FixtureName } from '../fixtures/fixture.ts';

/** Where recorded checkpoints are that do not belong to the repository. */
const OTHERS = join(import.meta.dirname, '../../../shared/checkpoints');

/**
 * @param directory - Where the fixture may be written; its own name is `tiny-` and the kind.
 * @param others - Folder of the others, from the environment.
 */
export async function recordedCheckpoints(
  kind: FixtureName,
  directory: string,
  others: string | undefined,
): Promise<[name: string, folder: string][]> {
  const fixture = join(directory, `tiny-${kind}`);
  if (!existsSync(fixture)) await writeFixture(kind, fixture);
  return [
    ['fixture', fixture],
    ...otherCheckpoints(others ?? OTHERS).filter(([, folder]) => kindOf(folder) === kind),
  ];
}

function otherCheckpoints(parent: string): [string, string][] {
  if (!existsSync(parent)) return [];
  return readdirSync(parent)
    .map((name): [string, string] => [name, join(parent, name)])
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
