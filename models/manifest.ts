/**
 * What a built model folder offers: the contract between `models/` (which writes it) and the engine
 * (which runs it without knowing anything else about checkpoints or ONNX construction).
 *
 * A built folder holds `manifest.json`, one ONNX file per graph and batch size,
 * `vocabulary.json` and `tokenizer.model`. Weights stay in the checkpoint's own files: graphs refer to them as external
 * data relative to `weightsDirectory`.
 *
 * Letters in shapes: B rows (one conversation each), N = n_q audio codebooks (agent then user),
 * D = dep_q codebooks the model generates, U = N - D codebooks it hears.
 *
 * ## The frame graph
 * One run is one 80 ms step of every executed row.
 *
 * | input | type, shape | meaning |
 * |---|---|---|
 * | `pcm` | f32 [B,1,1920] | what the user said, 24 kHz |
 * | `offset` | i64 [B] | steps this row has executed since its reset; the host adds 1 after each executed step. All positions, delays and first-frame rules derive from it, so offset 0 with zeroed state is a new conversation |
 * | `exec_mask` | bool [B] | rows that step; the state of others does not move and their outputs mean nothing |
 * | `forced_text` | i64 [B] | token that replaces the sampled one; -1: none; -2 - t: token t replaces whatever is sampled but padding and its end, so that the model keeps its own pauses |
 * | `forced_codes` | i64 [B,N] | codes that replace the sampled (first D) or heard (last U) ones, or -1. A row whose heard codes are all forced does not listen: `pcm` is not encoded and its encoder waits. Whoever forces tokens checks their range: one beyond its table fails the whole run |
 * | `text_temperature`, `audio_temperature` | f32 [B] | 0 means greedy |
 * | `text_top_k`, `audio_top_k` | i64 [B] | 1 … the width of the noise |
 * | `text_noise` | f32 [B, noise.textWidth] | Exp(1) draws for the exponential race over the top-k, best candidate first |
 * | `audio_noise` | f32 [B, D, noise.audioWidth] | the same per codebook |
 * | `condition_<name>` | i64 [B] | one for each of `conditions`: index of the value |
 * | `guidance` | f32 [B] | where `guidance` is not null: 1 follows the condition, more exaggerates it |
 * | states | see `states` | |
 *
 * Models that take a system prompt have two inputs more: `embedding` f32 [B,W] with `has_embedding`
 * bool [B], a sum of embeddings that a row reads in place of its tokens. Their decoder waits in steps
 * whose D codes are all forced.
 *
 * | output | type, shape | meaning |
 * |---|---|---|
 * | `pcm_out` | f32 [B,1,1920] | the model's voice; zeros while `frame_tokens` are ungenerated |
 * | `text_token` | i64 [B] | sampled (or forced) in this step: `maxDelay` frames ahead of `pcm_out` |
 * | `frame_tokens` | i64 [B,1+D] | the undelayed column that `pcm_out` was decoded from; all -2 in the first `maxDelay` steps |
 * | states | | same buffers as their inputs: every state may be updated in place |
 * | probes | f32 | `hidden` [B,dim], `text_logits` [B,text], `audio_logits` [B,D,card], `user_codes` i64 [B,U]; only in graphs built with `probes` |
 *
 * Models that only listen (kind `stt`, D = 0) have the same graph without a voice: no `pcm_out`, no
 * inputs that begin with `audio_`, and, if the manifest has `pauses`, the output
 *
 * | output | type, shape | meaning |
 * |---|---|---|
 * | `pauses` | f32 [B, heads, classes] | probabilities, class 0 of a head meaning that the speaker has paused |
 *
 * The codec graphs (`mimi-encode`: `pcm`,`offset`,`exec_mask` → `codes` i64 [B,K]; `mimi-decode`:
 * `codes`,`offset`,`exec_mask` → `pcm_out`) follow the same rules.
 */
import { z } from 'zod';

export const MANIFEST_FORMAT_VERSION = 5;

const tensorType = z.enum(['float32', 'float16', 'int64', 'bool', 'uint8', 'int8']);
export type TensorType = z.infer<typeof tensorType>;

/** Bytes of one element. */
export const TENSOR_TYPE_BYTES: Readonly<Record<TensorType, number>> = {
  float32: 4,
  float16: 2,
  int64: 8,
  bool: 1,
  uint8: 1,
  int8: 1,
};

/** A named tensor; `shape` leads with the batch size of its graph. */
const tensorDescription = z.object({
  name: z.string().min(1),
  type: tensorType,
  shape: z.array(z.number().int().positive()),
});
export type TensorDescription = z.infer<typeof tensorDescription>;

/**
 * One state tensor. `rowShape` leaves the batch out: the engine allocates [slots, ...rowShape] once
 * and a graph for batch b uses its first b rows. A new conversation starts from zeros.
 */
const stateDescription = z.object({
  input: z.string().min(1),
  output: z.string().min(1),
  type: tensorType,
  rowShape: z.array(z.number().int().positive()),
  /**
   * Of a ring, whose slots axis 1 of the row counts: how many of them a step fills, from the first on.
   * What lies in a slot that none has filled yet changes nothing, as long as it is finite. Null: all of
   * the state is read from the first step on.
   */
  slotsPerStep: z.number().int().positive().nullable(),
});
export type StateDescription = z.infer<typeof stateDescription>;

/** A constant that lies in a file: bytes `offsetBytes` to `offsetBytes + lengthBytes`. */
const weightDescription = z.object({
  name: z.string().min(1),
  type: z.enum(['float32', 'int64', 'int32', 'bool', 'float16', 'bfloat16', 'uint8', 'int8']),
  shape: z.array(z.number().int().nonnegative()),
  /** Relative to `weightsDirectory`. */
  file: z.string().min(1),
  offsetBytes: z.number().int().nonnegative(),
  lengthBytes: z.number().int().nonnegative(),
  /** False where runs only read what is worked out of it when the graph is loaded. */
  isReadAsStored: z.boolean(),
});
export type WeightDescription = z.infer<typeof weightDescription>;

const graphDescription = z.object({
  kind: z.enum(['frame', 'mimi-encode', 'mimi-decode']),
  /** Rows this graph computes at once. */
  batch: z.number().int().positive(),
  /** Path of the ONNX file relative to the manifest. */
  file: z.string().min(1),
  inputs: z.array(tensorDescription),
  outputs: z.array(tensorDescription),
  states: z.array(stateDescription),
  /** Operators of a run, before onnxruntime joins or drops some. */
  nodes: z.number().int().nonnegative(),
  /** Bytes that a run reads of the weights: the least a run can take is these at memory's speed. */
  weightBytes: z.number().int().nonnegative(),
  /** Bytes of what is worked out of weights when the graph is loaded, each time it is loaded. */
  foldedBytes: z.number().int().nonnegative(),
  /** What graphs of one kind have in common, so that whoever loads several keeps it once. */
  weights: z.array(weightDescription),
  /**
   * Names of nodes that compute with positions and tokens alone: small integers, which some devices
   * have no kernels for. They belong on the host, whatever runs the rest.
   */
  hostNodes: z.array(z.string()),
});
export type GraphDescription = z.infer<typeof graphDescription>;

const samplingOptions = z.object({
  textTemperature: z.number().min(0).max(10),
  audioTemperature: z.number().min(0).max(10),
  textTopK: z.number().int().min(1),
  audioTopK: z.number().int().min(1),
});
/** Temperature 0 is greedy. */
export type SamplingOptions = z.infer<typeof samplingOptions>;

/** An entry of the vocabulary file; the index is the token id. `byte` pieces are spelled `<0xE2>`. */
export const vocabularyPiece = z.object({
  /** As SentencePiece spells it: U+2581 stands for a space. */
  piece: z.string(),
  kind: z.enum(['normal', 'unknown', 'control', 'user', 'byte', 'unused']),
});
export type VocabularyPiece = z.infer<typeof vocabularyPiece>;

/** Families of checkpoints; `stt` hears and writes but does not speak. */
const modelKind = z.enum(['moshi', 'personaplex', 'hibiki', 'stt']);
export type ModelKind = z.infer<typeof modelKind>;

/** What graphs are made for: each has other kernels. */
export const device = z.enum(['cpu', 'cuda', 'webgpu']);
export type Device = z.infer<typeof device>;

/** What the weights of the language model's matrices are when a step reads them. */
export const precision = z.enum(['f32', 'bf16', 'f16', 'q8', 'q4', 'q4-128']);
export type Precision = z.infer<typeof precision>;

/** A frame reads the least with it; the memory of GPUs is fast enough for finer blocks. */
export const FASTEST_ON_CPU: Precision = 'q4-128';

/** One choice the model was trained to obey; graph input `condition_<name>` i64 [B] is an index into `values`. */
const conditionDescription = z.object({
  name: z.string().min(1),
  values: z.array(z.string()).min(1),
  /** Index of the value for conversations that ask for none. */
  default: z.number().int().nonnegative(),
});

/** How a model that takes a system prompt hears and speaks while it is prompted. */
const promptDescription = z.object({
  /** [D] codes that the model speaks while it reads. */
  silenceCodes: z.array(z.number().int().nonnegative()),
  /** [U] codes that the model hears while it is prompted. */
  toneCodes: z.array(z.number().int().nonnegative()),
  /** Frames of silence after the voice, and again after the text. */
  gapFrames: z.number().int().nonnegative(),
  /** [1+N] frames by which text and codes are late. */
  delays: z.array(z.number().int().nonnegative()),
});
export type PromptDescription = z.infer<typeof promptDescription>;

export const modelManifest = z.object({
  formatVersion: z.literal(MANIFEST_FORMAT_VERSION),
  /** Short name shown to people, for example `demo`. */
  name: z.string().min(1),
  kind: modelKind,
  /** True for the built-in tiny model: page and log say so. */
  isDemo: z.boolean(),
  /** Absolute folder that the graphs' external weight locations are relative to. */
  weightsDirectory: z.string().min(1),
  sampleRate: z.literal(24000),
  frameSamples: z.literal(1920),
  /** D: codebooks the model generates. */
  generatedCodebooks: z.number().int().nonnegative(),
  /** U: codebooks the model hears. */
  heardCodebooks: z.number().int().nonnegative(),
  /** K: codebooks that the codec graphs give and take, the larger of D and U. */
  codecCodebooks: z.number().int().positive(),
  /** Frames by which `frame_tokens` lag `text_token`. */
  maxDelay: z.number().int().nonnegative(),
  textCard: z.number().int().positive(),
  audioCard: z.number().int().positive(),
  paddingToken: z.number().int(),
  endOfPaddingToken: z.number().int(),
  /** Defaults from the checkpoint's `lm_gen_config`, else the reference's. */
  sampling: samplingOptions,
  /** Widest top-k the graphs can draw from. */
  noise: z.object({
    textWidth: z.number().int().positive(),
    audioWidth: z.number().int().positive(),
  }),
  precision,
  device,
  /** Empty for models without conditions. */
  conditions: z.array(conditionDescription),
  /**
   * Default of classifier-free guidance; the graph then has an input `guidance` f32 [B] and computes
   * every row twice. Null for models without.
   */
  guidance: z.number().nullable(),
  /** Text token that ends a stream whose input has ended, or null for models that never end. */
  endOfStreamToken: z.number().int().nullable(),
  /** Null for models that take no system prompt. */
  prompt: promptDescription.nullable(),
  /**
   * Width W of the inputs `embedding` f32 [B,W] and `has_embedding` bool [B], by which a row can read
   * a recorded sum of embeddings in place of its tokens; null for graphs without.
   */
  embeddingWidth: z.number().int().positive().nullable(),
  /**
   * Heads that judge whether the speaker has paused: output `pauses` f32 [B, heads, classes] are
   * probabilities, class 0 of a head meaning a pause within its horizon. Null for models without.
   */
  pauses: z
    .object({
      heads: z.number().int().positive(),
      /** Horizon of each head, or null where nobody has said what they are. */
      horizonsSeconds: z.array(z.number().positive()).nullable(),
      classes: z.number().int().positive(),
    })
    .nullable(),
  /** Null for models that converse. */
  transcription: z
    .object({
      /** Whole frames by which the text lags what is heard. */
      delayFrames: z.number().int().nonnegative(),
      /** Samples of silence that the model wants before the first sound. */
      leadingSilenceSamples: z.number().int().nonnegative(),
      /** Samples of silence after the last sound that bring its last words out. */
      trailingSilenceSamples: z.number().int().nonnegative(),
    })
    .nullable(),
  /** Path relative to the manifest: JSON array of `vocabularyPiece`, indexed by token id. */
  vocabularyFile: z.string().min(1),
  /** Path relative to the manifest: the SentencePiece model, by which prompts become tokens. */
  tokenizerFile: z.string().min(1),
  graphs: z.array(graphDescription).min(1),
});
export type ModelManifest = z.infer<typeof modelManifest>;
