/**
 * What `npm test` runs: all tests, then what was skipped and why, then one plain line of counts.
 *
 * With `CI` set a skipped test is a failure: that machine is supposed to have everything.
 * Arguments go to Vitest, for example the path of one test.
 */
import { startVitest, type Reporter, type TestModule } from 'vitest/node';
import { quietenLibraries, readEnvironment } from './config.ts';

interface Counts {
  passed: number;
  failed: number;
  /** One line per skipped test. */
  skipped: string[];
}

const counts: Counts = { passed: 0, failed: 0, skipped: [] };

const summary: Reporter = {
  onTestRunEnd: (modules: readonly TestModule[], errors: readonly unknown[]) => {
    // Failures outside of any test: files that do not load, rejections nobody handled.
    counts.failed += errors.length;
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      if (tests.length === 0 || (module.state() === 'failed' && module.errors().length > 0)) {
        counts.failed += module.errors().length > 0 ? 1 : 0;
      }
      for (const test of tests) {
        const result = test.result();
        switch (result.state) {
          case 'passed':
            counts.passed++;
            break;
          case 'failed':
            counts.failed++;
            break;
          case 'skipped':
          case 'pending':
            counts.skipped.push(
              `${module.relativeModuleId} > ${test.fullName}${noteOf('note' in result ? result.note : undefined)}`,
            );
            break;
        }
      }
    }
  },
};

function noteOf(note: string | undefined): string {
  return note === undefined ? '' : ` (${note})`;
}

quietenLibraries();
const environment = readEnvironment();
const isContinuousIntegration = !['', '0', 'false'].includes(environment['CI'] ?? '');
const vitest = await startVitest('test', process.argv.slice(2), {
  watch: false,
  reporters: [isContinuousIntegration ? 'verbose' : 'default', summary],
});
await vitest.close();

for (const line of counts.skipped) {
  process.stdout.write(`skipped: ${line}\n`);
}
const isSkippingForbidden = isContinuousIntegration && counts.skipped.length > 0;
if (isSkippingForbidden) {
  process.stdout.write('CI is set: this machine must have what every test needs\n');
}
const { passed, failed, skipped } = counts;
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
process.exit(failed > 0 || passed === 0 || isSkippingForbidden ? 1 : 0);
