/** Says what the visitor is talking to when no real weights are configured. */
export function DemoNotice() {
  return (
    <details className="demo">
      <summary>This is a tiny demo model</summary>
      <p>
        It has 4 million parameters instead of 7 billion: it greets, answers a handful of questions
        (try “What is your name?” or “Tell me a joke.”) and stops when you interrupt. For the real
        one, give the service a folder with Moshi’s weights and start it again:
      </p>
      <pre>
        <code>MOSHI_MODEL=/path/to/moshi npm start</code>
      </pre>
    </details>
  );
}
