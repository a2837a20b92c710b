/** What a job process logs once it has loaded everything and waits for a call. */
export const WARM_PROCESS_MESSAGE = 'a process is ready for a call';
