import { expect, test } from 'vitest';
import { formatLogLine, LineSplitter } from './log-line.ts';

test('shows a line of pino as level, message and fields', () => {
  const line = '{"level":30,"time":1,"msg":"ready","slots":4,"url":"unix:/a","text":"two words"}';
  expect(formatLogLine(line)).toBe('info  ready slots=4 url=unix:/a text="two words"');
});

test('shows the message of an error', () => {
  expect(formatLogLine('{"level":50,"msg":"failed","err":{"message":"no","stack":"…"}}')).toBe(
    'error failed err="no"',
  );
});

test.each(['plain text', '{not json', '{"level":"info"}', '[1]', ''])(
  'leaves %j as it is',
  (line) => {
    expect(formatLogLine(line)).toBe(line);
  },
);

test.each([1, 2, 5, 100])('cuts chunks of %i characters into the same lines', (size) => {
  const text = 'one\ntwo\r\n\nthree';
  const splitter = new LineSplitter();
  const lines: string[] = [];
  for (let start = 0; start < text.length; start += size) {
    lines.push(...splitter.push(text.slice(start, start + size)));
  }
  lines.push(...splitter.flush());
  expect(lines.map((line) => line.replace('\r', ''))).toEqual(['one', 'two', '', 'three']);
});
