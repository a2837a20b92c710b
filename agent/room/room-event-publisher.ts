import type { Room } from '@livekit/rtc-node';
import { ROOM_EVENTS_TOPIC, ROOM_EVENTS_VERSION } from '../events/room-events.ts';
import type { RoomEvent } from '../events/room-events.ts';

type WithoutVersion<Event> = Event extends unknown ? Omit<Event, 'v'> : never;

/** Events waiting for the network; later ones are dropped, they would tell of a past. */
const MAX_WAITING_EVENTS = 100;

/** Sends typed events to everybody in the room, in order. */
export class RoomEventPublisher {
  readonly #room: Room;
  readonly #onFailure: (error: unknown) => void;
  #sending: Promise<void> = Promise.resolve();
  #waitingEvents = 0;

  constructor(room: Room, onFailure: (error: unknown) => void) {
    this.#room = room;
    this.#onFailure = onFailure;
  }

  /** Dropped while the room is not connected: nobody could hear it in time. */
  publish(event: WithoutVersion<RoomEvent>): void {
    if (!this.#room.isConnected || this.#waitingEvents >= MAX_WAITING_EVENTS) {
      return;
    }
    const payload = new TextEncoder().encode(
      JSON.stringify({ v: ROOM_EVENTS_VERSION, ...event } satisfies RoomEvent),
    );
    this.#waitingEvents += 1;
    this.#sending = this.#sending.then(() => this.#send(payload));
  }

  async #send(payload: Uint8Array): Promise<void> {
    try {
      await this.#room.localParticipant?.publishData(payload, {
        reliable: true,
        topic: ROOM_EVENTS_TOPIC,
      });
    } catch (error) {
      this.#onFailure(error);
    } finally {
      this.#waitingEvents -= 1;
    }
  }
}
