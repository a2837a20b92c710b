/** Says what the visitor is talking to when no real weights are configured. */
export function DemoNotice() {
  return (
    <details className="demo">
      <summary>This is a tiny demo model</summary>
      <p>
        It has 4 million parameters instead of 7 billion: it knows 42 lines (try “What can you do?”,
        “Tell me a joke.”, “Can I interrupt you?”) and stops when you interrupt. For the real one,
        fetch its weights and start the service with them:
      </p>
      <pre>
        <code>{'npm run moshi -- models pull moshiko\nMOSHI_MODEL=moshiko npm start'}</code>
      </pre>
    </details>
  );
}
