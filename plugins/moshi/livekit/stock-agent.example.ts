import { fileURLToPath } from 'node:url';
import { ServerOptions, cli, defineAgent, llm, voice } from '@livekit/agents';
import { MoshiModel, hearRoom, roomOptions, sessionOptions } from '../index.ts';

export default defineAgent({
  entry: async (job) => {
    await job.connect();

    const moshi = new MoshiModel({ engineUrl: 'ws://127.0.0.1:8998' });
    const session = new voice.AgentSession({
      llm: new llm.DuplexRealtimeAdapter(moshi),
      ...sessionOptions,
    });
    session.on(voice.AgentSessionEventTypes.ConversationItemAdded, ({ item }) => {
      if (item.type === 'message') {
        process.stdout.write(`${item.role}:${item.textContent ?? ''}\n`);
      }
    });
    session.on(voice.AgentSessionEventTypes.Close, () => job.shutdown('the session is over'));

    const agent = new voice.Agent({ instructions: '' });
    await session.start({ agent, room: job.room, ...roomOptions });
    hearRoom(job.room, agent.duplexSession);
  },
});

const thisFile = fileURLToPath(import.meta.url);
if (process.argv[1] === thisFile) {
  cli.runApp(
    new ServerOptions({
      agent: thisFile,
      agentName: 'moshi-stock',
      loadFunc: () => Promise.resolve(0),
    }),
  );
}
