// Types of wsroom.js. docs/client.md says what everything does.

/** Any JSON: what messages are made of. */
export type Message = unknown;

/** One message as it came, with what the protocol adds to it. */
export interface Frame {
  event: string;
  message: any;
  /** The id of the socket that led to this message; null where the app itself did. */
  sender: string | null;
  /** The room that it was emitted to; null for the path, for several rooms, for this socket alone. */
  room: string | null;
  /** On an answer: the id of the frame that asked. */
  id?: string | number;
  /** Where the room stands with this message, if the server keeps a history. */
  offset?: string;
}

export type Listener = (message: any, sender: string | null, room: string | null) => unknown;

/** Ends what `on` and its like began; may be called twice. */
export type Unsubscribe = () => void;

export type State = "connecting" | "open" | "waiting" | "closed";

/** What ends up in the query of the URL: whatever URLSearchParams takes. */
export type Params = ConstructorParameters<typeof URLSearchParams>[0];

export interface Options {
  /** Added to the URL's query. A function is asked anew before each attempt: for tokens. */
  params?: Params | (() => Params | Promise<Params>);
  /** How many frames wait at the most while there is no connection; 100 unless given. */
  buffer?: number;
  /** How many attempts in a row may fail; without a limit unless given. */
  maxRetries?: number;
  /** Milliseconds: the first pause is a random one up to this; 500 unless given. */
  retryAfter?: number;
  /** Milliseconds that one attempt may take, `params` included; 10,000 unless given. */
  connectTimeout?: number;
}

/** What a call was refused or given up for. */
export declare class WSRoomError extends Error {
  /** The server's code, or the client's own: lost, timeout, closed, dropped, left. */
  readonly code: string;
  /** A sentence for people. */
  readonly detail: string;
  /** The event of the frame that failed, where there was one. */
  readonly event?: string | null;
  /** The room that could not be joined again, where that was it. */
  readonly room?: string;
}

/** A connection that comes back by itself, and its rooms. */
export interface Socket {
  /** What others see as `sender`; another one after each reconnect, null while there is none. */
  readonly id: string | null;
  readonly state: State;
  /** Frames that were given up because too many waited, or the socket was closed. */
  readonly dropped: number;

  /** Listen to an event; "*" hears each whole frame. */
  on(event: "*", listener: (frame: Frame) => unknown): Unsubscribe;
  on(event: string, listener: Listener): Unsubscribe;
  /** Stop one listener of an event, or all of them. */
  off(event: string, listener?: (...values: any[]) => unknown): void;

  /** Send without waiting for an answer; what is volatile is dropped while there is no connection. */
  emit(event: string, message?: Message, options?: { volatile?: boolean }): void;
  /** Send, and wait for what the handler returns; `timeout` is in milliseconds, 10,000 unless given. */
  request<Reply = any>(
    event: string,
    message?: Message,
    options?: { timeout?: number },
  ): Promise<Reply>;

  /** Be in a room, after each reconnect too; resolves once the join is effective. */
  joinRoom(room: string): Promise<{ room: string; offset?: string }>;
  leaveRoom(room: string): Promise<void>;

  /** The WebSocket is open; `onConnected` is later. */
  onOpen(listener: () => unknown): Unsubscribe;
  /** All rooms are joined and what waited is sent: on the first connection and each later one. */
  onConnected(listener: Listener): Unsubscribe;
  /** A connection, or an attempt, is over; `state` says whether another one follows. */
  onClose(listener: (end: { code: number; reason: string }) => unknown): Unsubscribe;
  /** Something failed that no promise tells of. */
  onError(listener: (error: Error) => unknown): Unsubscribe;
  onState(listener: (state: State) => unknown): Unsubscribe;
  /** Messages of this room (null: of the path, or to this socket) were missed: load its state anew. */
  onResync(listener: (room: string | null) => unknown): Unsubscribe;

  /** End it for good. */
  close(code?: number, reason?: string): void;
}

/** Connect to a path of a wsroom app: "/ws", or a whole URL (ws, wss, http, https). */
export declare function connect(url: string | URL, options?: Options | null): Socket;

export default connect;

// What the script that an app serves at /wsroom.js sets, beside its exports.
declare global {
  interface Window {
    wsroom: { connect: typeof connect; WSRoomError: typeof WSRoomError };
    DoxWebSocket: typeof connect;
  }
}
