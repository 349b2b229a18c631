// Types of wsroom.js, which docs/client.md describes.

/** A message: any JSON value. */
export type Message = unknown;

/** A frame of the server: a message and what the protocol adds to it. */
export interface Frame {
  event: string;
  message: any;
  /** The id of the socket that emitted the message; null if the app emitted it. */
  sender: string | null;
  /** The room of the emit; null for the path, for several rooms, or for this socket alone. */
  room: string | null;
  /** In an answer: the id of the request. */
  id?: string | number;
  /** The position of this message in the room, if the server keeps a history. */
  offset?: string;
}

export type Listener = (
  message: any,
  sender: string | null,
  room: string | null,
  /** Only of a replayed message: when it was emitted, in ms since the epoch. */
  time?: number,
) => unknown;

/** Removes the listener; may be called twice. */
export type Unsubscribe = () => void;

export type State = "connecting" | "open" | "waiting" | "closed";

/** Parameters of the URL's query: any argument of URLSearchParams, or one itself. */
export type Params =
  | string
  | Record<string, string>
  | Iterable<[string, string]>
  | readonly (readonly [string, string])[];

/** What to get of the messages before a join: the last ones, or those since an offset. */
export type History = { last?: number; since?: undefined } | { last?: undefined; since: string };

/** The answer to a join. */
export interface Joined {
  room: string;
  /** The position of the room, if the server keeps a history. */
  offset?: string;
  /** If a history was asked for: how many messages of it arrived. */
  replayed?: number;
  /** If `since` was given: whether no message is missing since then. */
  recovered?: boolean;
  /** In a room with presence: the cards of its members, and their number. */
  members?: Card[];
  count?: number;
  /** More members follow; `Connection.room` asks for them by itself. */
  more?: boolean;
}

/** What a room with presence shows of a member. */
export interface Card {
  id: string | number;
  [key: string]: any;
}

/** One component's hold on a room; the socket leaves it with the last one. */
export interface Room {
  readonly name: string;
  /** Resolves once the join is effective; rejects if the app refuses it. */
  readonly joined: Promise<Joined>;
  /** In a room with presence: the cards by their ids; empty if there are too many to show. */
  readonly members: ReadonlyMap<string | number, Card>;
  readonly count: number;
  /** Listen to an event of this room only. */
  on(event: string, listener: Listener): Unsubscribe;
  /** Called with all members after each change, and at once if they are known. */
  onMembers(listener: (members: Card[]) => unknown): Unsubscribe;
  /** Remove the listeners of this handle; leave the room if no other handle holds it. */
  leave(): Promise<void>;
}

export interface Options {
  /** Added to the URL's query. A function is called before each attempt, for tokens. */
  params?: Params | (() => Params | Promise<Params>);
  /** How many frames may wait for a connection; default: 100. */
  buffer?: number;
  /** How many attempts in a row may fail; default: no limit. */
  maxRetries?: number;
  /** Milliseconds: the first pause is random, up to this; default: 500. */
  retryAfter?: number;
  /** Milliseconds for one attempt, `params` included; default: 10,000. */
  connectTimeout?: number;
  /** For an environment without a global WebSocket: the class of the package `ws`, for example. */
  WebSocket?: WebSocketClass;
}

/** A class with the interface of the browser's WebSocket. */
export type WebSocketClass = new (url: string, protocols: string[]) => {
  readonly OPEN: number;
  readonly readyState: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
};

/** What an `AbortSignal` has. */
export interface Signal {
  readonly reason: any;
  throwIfAborted(): void;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** The reason why a call failed. */
export declare class WSRoomError extends Error {
  /** The server's code, or the client's own: lost, timeout, closed, dropped. */
  readonly code: string;
  /** A sentence for people. */
  readonly detail: string;
  /** What the app added: `Reject(..., data=...)`. For `invalid_message`, where it is invalid. */
  readonly data?: any;
  /** The event of the frame that failed, if there was one. */
  readonly event?: string | null;
  /** The room, if it could not be joined again. */
  readonly room?: string;
}

/** A connection that reconnects by itself, and its rooms: what all sockets have. */
export interface Connection {
  /** The `sender` of its messages; a new one after each reconnect, null without a connection. */
  readonly id: string | null;
  readonly state: State;
  /** How many frames were dropped, because too many waited or the socket was closed. */
  readonly dropped: number;
  /** The rooms that it is in, and is in again after a reconnect; a new array each time. */
  readonly rooms: string[];

  /**
   * Join a room, again after each reconnect; resolves once the join is effective. The messages of
   * the history that it asks for arrive before that, at the listeners. If this socket leaves the
   * room first, the promise stays pending.
   */
  joinRoom(room: string, history?: History): Promise<Joined>;
  leaveRoom(room: string): Promise<void>;
  /** Hold a room, and join it if it is the first handle: components need not know each other. */
  room(name: string): Room;

  /** The WebSocket is open; `onConnected` is later. */
  onOpen(listener: () => unknown): Unsubscribe;
  /** On each connection: all rooms are joined, and the frames that waited are sent. */
  onConnected(listener: Listener): Unsubscribe;
  /** A connection or an attempt has ended; `state` is "closed" if no other follows. */
  onClose(listener: (end: { code: number; reason: string }) => unknown): Unsubscribe;
  /** An error that rejects no promise. */
  onError(listener: (error: Error) => unknown): Unsubscribe;
  onState(listener: (state: State) => unknown): Unsubscribe;
  /** Messages of this room (null: of the path, or to this socket) were lost: reload its state. */
  onResync(listener: (room: string | null) => unknown): Unsubscribe;

  /**
   * Connect again after it was closed, with its listeners and in its rooms; `params` is evaluated
   * again. Does nothing if it is not closed.
   */
  open(): void;
  /** Close it, until `open`; what waits for an answer is rejected. */
  close(code?: number, reason?: string): void;
}

/** A socket whose events may have any names and messages. */
export interface Socket extends Connection {
  /** Listen to an event; "*" gets each whole frame. */
  on(event: "*", listener: (frame: Frame) => unknown): Unsubscribe;
  on(event: string, listener: Listener): Unsubscribe;
  /** Listen to the next message of an event only. */
  once(event: string, listener: (...values: any[]) => unknown): Unsubscribe;
  /** Remove one listener of an event, or all of them. */
  off(event: string, listener?: (...values: any[]) => unknown): void;

  /**
   * Send without waiting for an answer; a volatile frame is dropped if there is no connection.
   * A frame that is too large for the server is reported to `onError`.
   */
  emit(event: string, message?: Message, options?: EmitOptions): void;
  /**
   * Send, and wait for what the handler returns; `timeout` in milliseconds, default: 10,000.
   * If `signal` is aborted, it rejects with the signal's reason; a frame that waits is not sent.
   */
  request<Reply = any>(event: string, message?: Message, options?: RequestOptions): Promise<Reply>;
}

export interface EmitOptions {
  /** Drop the frame if there is no connection. */
  volatile?: boolean;
}

export interface RequestOptions {
  /** Milliseconds; default: 10,000. */
  timeout?: number;
  signal?: Signal;
}

/** The events of a path, as `wsroom types` writes them: each name with the type of its messages. */
export interface Events {
  /** What clients send. */
  client: object;
  /** What the app emits. */
  server: object;
  /** What the handlers of the client's events return. */
  replies: object;
  /** What clients get when they join the rooms of a pattern. */
  state: object;
}

/** The messages of the protocol's own events. */
export interface BuiltinMessages {
  connected: {
    id: string;
    session: string;
    limits: { frame: number };
    rooms?: { [room: string]: string };
  };
  reply: unknown;
  error: { code: string; detail: string; event: string | null; data?: unknown };
  resync: { room: string | null; offset: string | null };
  joinedRoom: Joined;
  leftRoom: { room: string };
}

type Name<Table> = keyof Table & string;
type MessageOf<P extends Events, Event> = Event extends keyof BuiltinMessages
  ? BuiltinMessages[Event]
  : Event extends keyof P["server"]
    ? P["server"][Event]
    : never;
type ReplyOf<P extends Events, Event> = Event extends keyof P["replies"] ? P["replies"][Event] : unknown;
/** The arguments after the event: a message that may be null may be left out. */
type Sent<Message, Options> = null extends Message
  ? [message?: Message, options?: Options]
  : [message: Message, options?: Options];

/** A listener of an event with messages of this type. */
export type ListenerOf<Message> = (
  message: Message,
  sender: string | null,
  room: string | null,
  /** Only of a replayed message: when it was emitted, in ms since the epoch. */
  time?: number,
) => unknown;

/** A socket whose events are declared: other names and other messages do not compile. */
export interface TypedSocket<P extends Events> extends Connection {
  /** Listen to an event; "*" gets each whole frame. */
  on(event: "*", listener: (frame: Frame) => unknown): Unsubscribe;
  on<Event extends Name<P["server"]> | keyof BuiltinMessages>(
    event: Event,
    listener: ListenerOf<MessageOf<P, Event>>,
  ): Unsubscribe;
  /** Listen to the next message of an event only. */
  once(event: "*", listener: (frame: Frame) => unknown): Unsubscribe;
  once<Event extends Name<P["server"]> | keyof BuiltinMessages>(
    event: Event,
    listener: ListenerOf<MessageOf<P, Event>>,
  ): Unsubscribe;
  /** Remove one listener of an event, or all of them. */
  off(
    event: "*" | Name<P["server"]> | keyof BuiltinMessages,
    listener?: (...values: any[]) => unknown,
  ): void;

  /** Send without waiting for an answer; see `Socket.emit`. */
  emit<Event extends Name<P["client"]>>(
    event: Event,
    ...sent: Sent<P["client"][Event], EmitOptions>
  ): void;
  /** Send, and wait for what the handler returns; see `Socket.request`. */
  request<Event extends Name<P["client"]>>(
    event: Event,
    ...sent: Sent<P["client"][Event], RequestOptions>
  ): Promise<ReplyOf<P, Event>>;
}

/**
 * Connect to a path of a wsroom app: "/ws", or a complete URL (ws, wss, http, https).
 * With the types that `wsroom types` writes: `connect<Paths["/ws"]>("/ws")`.
 */
export declare function connect(url: string | { readonly href: string }, options?: Options | null): Socket;
export declare function connect<P extends Events>(
  url: string | { readonly href: string },
  options?: Options | null,
): TypedSocket<P>;

export default connect;

// The globals that the script at /wsroom.js sets, besides its exports.
declare global {
  interface Window {
    wsroom: { connect: typeof connect; WSRoomError: typeof WSRoomError };
    DoxWebSocket: typeof connect;
  }
}
