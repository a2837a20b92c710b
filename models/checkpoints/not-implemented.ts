/** Settings of config.json that we know and do not have: refused by name unless they are off. */
import { z } from 'zod';

/** A feature that changes the result and that we do not have: only its "off" values pass. */
export function notImplemented(meaning: string): z.ZodType {
  return z
    .unknown()
    .optional()
    .superRefine((value, context) => {
      if (isOff(value)) return;
      context.addIssue({
        code: 'custom',
        message: `(${meaning}) is not implemented; found ${JSON.stringify(value)}`,
      });
    });
}

/** Absent, or a value that turns a feature off. */
export function isOff(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  return value === undefined || value === null || value === false || value === 0;
}
