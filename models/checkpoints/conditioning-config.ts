/**
 * `conditioners` and `fuser` of config.json: choices that the model was trained to obey, each a row of
 * a small table that is added to every step's input.
 *
 * Source: kyutai-labs/moshi@e6a55d2 moshi/moshi/models/loaders.py (`get_conditioner`,
 * `get_condition_fuser`), moshi/moshi/conditioners/text.py (`LUTConditioner`, `NoopTokenizer`) and
 * moshi/moshi/run_inference.py (`get_condition_tensors`), which asks for `very_good` and guides away
 * from `very_bad`.
 */
import { z } from 'zod';
import { notImplemented } from './not-implemented.ts';

const DEFAULT_VALUE = 'very_good';
const NULL_VALUE = 'very_bad';

/** One condition; its table has a row for each value, unused ones, and one for "not said". */
export type ConditionConfig = {
  readonly name: string;
  /** In the order of the table's rows. */
  readonly values: readonly string[];
  /** Row of the value that conversations get that ask for none. */
  readonly defaultRow: number;
  /** Row of the value that guidance leads away from. */
  readonly nullRow: number;
  /** Rows of the table but for the one that means "not said". */
  readonly bins: number;
  /** Width of the table, before its projection to that of the model. */
  readonly dimension: number;
};

const count = z.number().int().positive();

const lookupTable = z
  .strictObject({
    n_bins: count,
    dim: count,
    tokenizer: z.literal('noop', { error: 'must be "noop": other tokenizers are not implemented' }),
    possible_values: z.array(z.string().min(1), {
      error: 'must list the values: hashed ones are not implemented',
    }),
    /** Of training, or about values that are not given, which do not occur here. */
    init_scale: z.unknown().optional(),
    pad_empty: z.unknown().optional(),
    learn_padding: z.unknown().optional(),
    force_linear: z.literal(true, { error: 'other than true is not implemented' }).default(true),
    output_bias: notImplemented('a bias of conditions'),
  })
  .superRefine(({ n_bins: bins, possible_values: values }, context) => {
    const complain = (message: string): void => {
      context.addIssue({ code: 'custom', path: ['possible_values'], message });
    };
    if (values.length > bins) complain(`must have at most n_bins ${bins} entries`);
    if (new Set(values).size !== values.length) complain('must differ from each other');
    for (const value of [DEFAULT_VALUE, NULL_VALUE]) {
      if (!values.includes(value)) {
        complain(`must contain ${value}: conditions of other kinds are not implemented`);
      }
    }
  });

export const conditioners = z.record(
  z.string().regex(/^\w+$/),
  z.strictObject({
    type: z.literal('lut', {
      error: ({ input }) => `must be "lut"; ${JSON.stringify(input)} is not implemented`,
    }),
    lut: lookupTable,
  }),
  { error: ({ code }) => (code === 'invalid_key' ? 'its name must be one word' : undefined) },
);

export const fuser = z.strictObject({
  sum: z.array(z.string()).default([]),
  cross: notImplemented('conditions by cross-attention'),
  prepend: notImplemented('conditions before the stream'),
  cross_attention_pos_emb: notImplemented('positions of conditions'),
  /** Means nothing without the positions it scales. */
  cross_attention_pos_emb_scale: z.unknown().optional(),
});

export type Conditioners = z.infer<typeof conditioners>;

/** What keeps the names in `fuser.sum` from being exactly the conditioners there are, or null. */
export function fuserProblem(given: Conditioners, sum: readonly string[]): string | null {
  const unknown = sum.find((name) => !Object.hasOwn(given, name));
  if (unknown !== undefined) return `adds ${unknown}, which is not among the conditioners`;
  const unused = Object.keys(given).find((name) => !sum.includes(name));
  if (unused !== undefined) return `must add conditioner ${unused} (fuser.sum), which is not used`;
  return new Set(sum).size === sum.length ? null : 'adds a condition twice';
}

/** In the order in which the reference adds them. */
export function describeConditions(given: Conditioners, sum: readonly string[]): ConditionConfig[] {
  return sum.flatMap((name) => {
    const table = given[name]?.lut;
    if (table === undefined) return [];
    const { possible_values: values, n_bins: bins, dim: dimension } = table;
    return {
      name,
      values,
      defaultRow: values.indexOf(DEFAULT_VALUE),
      nullRow: values.indexOf(NULL_VALUE),
      bins,
      dimension,
    };
  });
}
