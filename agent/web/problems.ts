/** Everything that can stand in the way of a conversation, and what the page says about it. */
export type Problem =
  | 'insecure_page'
  | 'microphone_denied'
  | 'microphone_missing'
  | 'microphone_busy'
  | 'microphone_failed'
  | 'link_expired'
  | 'link_unknown'
  | 'busy'
  | 'room_full'
  | 'too_many_requests'
  | 'service_down'
  | 'cannot_connect'
  | 'agent_missing'
  | 'agent_lost'
  | 'connection_lost'
  | 'removed'
  | 'elsewhere';

export interface ProblemText {
  title: string;
  advice: string;
  /** Label of the button that tries again; undefined: trying again cannot help. */
  retry: string | undefined;
}

const TEXTS: Record<Problem, ProblemText> = {
  insecure_page: {
    title: 'This page cannot use the microphone here',
    advice:
      'Browsers hand out the microphone on secure pages only. Open this page over https, or on the computer it runs on as http://127.0.0.1.',
    retry: undefined,
  },
  microphone_denied: {
    title: 'The microphone is blocked',
    advice:
      'Moshi can only hear you through it. Allow the microphone for this page in the address bar, then try again.',
    retry: 'Try again',
  },
  microphone_missing: {
    title: 'No microphone found',
    advice: 'Plug one in, or switch one on in your system settings, then try again.',
    retry: 'Try again',
  },
  microphone_busy: {
    title: 'Another program holds the microphone',
    advice: 'Close the program that is using it, then try again.',
    retry: 'Try again',
  },
  microphone_failed: {
    title: 'The microphone did not start',
    advice: 'Unplug it and plug it in again, or choose another one in your system settings.',
    retry: 'Try again',
  },
  link_expired: {
    title: 'This link has expired',
    advice: 'Ask whoever sent it for a new one.',
    retry: undefined,
  },
  link_unknown: {
    title: 'This link leads nowhere',
    advice: 'It may be incomplete, or too old. Ask whoever sent it for a new one.',
    retry: undefined,
  },
  busy: {
    title: 'All lines are busy',
    advice: 'Moshi is talking to as many people as it can. A line is usually free within minutes.',
    retry: 'Try again',
  },
  room_full: {
    title: 'This conversation is full',
    advice: 'Everybody who may take part is already inside.',
    retry: 'Try again',
  },
  too_many_requests: {
    title: 'A little slower, please',
    advice: 'Too many attempts came from your network. Wait half a minute, then try again.',
    retry: 'Try again',
  },
  service_down: {
    title: 'The service does not answer',
    advice: 'It may be starting. Wait a few seconds, then try again.',
    retry: 'Try again',
  },
  cannot_connect: {
    title: 'The call could not be connected',
    advice: 'Your network may block calls: try without a VPN, or from another network.',
    retry: 'Try again',
  },
  agent_missing: {
    title: 'Moshi has not picked up',
    advice: 'You are in the room, but Moshi is not. It may still come; you can also call again.',
    retry: 'Call again',
  },
  agent_lost: {
    title: 'Moshi has left the call',
    advice: 'Something went wrong on its side. Call again to go on.',
    retry: 'Call again',
  },
  connection_lost: {
    title: 'The connection broke',
    advice: 'Your network was gone for too long.',
    retry: 'Call again',
  },
  removed: {
    title: 'The call was ended',
    advice: 'The other side closed the room.',
    retry: 'Call again',
  },
  elsewhere: {
    title: 'The call goes on elsewhere',
    advice: 'You joined it in another window.',
    retry: undefined,
  },
};

export function describeProblem(problem: Problem): ProblemText {
  return TEXTS[problem];
}

/** A step on the way into a call failed. */
export class CallError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem, cause?: unknown) {
    super(describeProblem(problem).title, { cause });
    this.name = 'CallError';
    this.problem = problem;
  }
}
