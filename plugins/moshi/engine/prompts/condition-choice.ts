/** What a conversation asks of a model that can be conditioned, checked against what the model offers. */
import type { ModelManifest } from '../../../../models/manifest.ts';

/** Wishes by name; what is missing takes the model's default. */
export type ConditionWishes = {
  readonly conditions?: Readonly<Record<string, string>>;
  /** Strength of classifier-free guidance. */
  readonly guidance?: number;
};

/** Graph inputs of one row. */
export type ConditionChoice = {
  /** Index of the value of each of the manifest's conditions. */
  readonly values: readonly number[];
  /** Null for models without guidance. */
  readonly guidance: number | null;
};

/** @throws RangeError naming the condition or value that the model does not have, and those it has. */
export function chooseConditions(
  manifest: Pick<ModelManifest, 'name' | 'conditions' | 'guidance'>,
  { conditions = {}, guidance }: ConditionWishes = {},
): ConditionChoice {
  for (const name of Object.keys(conditions)) {
    if (manifest.conditions.some((condition) => condition.name === name)) {
      continue;
    }
    const known = manifest.conditions.map((condition) => condition.name).join(', ');
    throw new RangeError(
      `The model ${manifest.name} has no condition ${JSON.stringify(name)}; it has ${known === '' ? 'none' : known}.`,
    );
  }
  const values = manifest.conditions.map(({ name, values: known, default: standard }) => {
    const value = Object.hasOwn(conditions, name) ? conditions[name] : undefined;
    if (value === undefined) {
      return standard;
    }
    const index = known.indexOf(value);
    if (index < 0) {
      throw new RangeError(
        `Condition ${name} cannot be ${JSON.stringify(value)}; it can be ${known.join(', ')}.`,
      );
    }
    return index;
  });
  if (manifest.guidance === null && guidance !== undefined && guidance !== 1) {
    throw new RangeError(
      `The model ${manifest.name} runs without guidance, so it cannot be ${guidance}.`,
    );
  }
  return { values, guidance: manifest.guidance === null ? null : (guidance ?? manifest.guidance) };
}
