// wsroom.js: the client for pages: listeners, replies, rooms, and reconnecting. No dependencies;
// docs/client.md describes it, wsroom.d.ts has its types.
//
// This file is an ES module and sets nothing global, so Node and bundlers can import it. A plain
// script must not have an `export`: from wsroom.min.js, the minified form of this file,
// wsroom/asgi/assets.py makes the text that an app serves at /wsroom.js, which is both a module and
// a plain script. After a change: python -m tests.support.minify

const CAP = 20_000; // ms: the longest pause before a retry...
const FLOOR = 100; // ...and the shortest
const STEADY = 5_000; // ms of a connection after which the pauses begin again
const SETUP = 60_000; // ms for joining all rooms again; the server allows 30 s for each frame
const LONGEST = 2 ** 31 - 1; // ms: the limit of setTimeout

const OPEN = Symbol("open");
const CLOSE = Symbol("close");
const STATE = Symbol("state");
const ERROR = Symbol("error");
const RESYNC = Symbol("resync");
const CONNECTED = Symbol("connected");

const GONE = ["lost", "closed", "dropped"]; // codes: without a connection every room is left
const TRANSIENT = ["unavailable", "internal", "timeout"];
const WAKING = ["online", "offline", "pageshow", "visibilitychange"];

const closed = (reason) => new WSRoomError("closed", reason || "the socket is closed");

class WSRoomError extends Error {
  constructor(code, detail, more) {
    super(`${code}: ${detail}`);
    Object.assign(this, { name: "WSRoomError", code, detail }, more);
  }
}

// JSON would make an object with a key for each byte of it.
const encode = (frame) =>
  JSON.stringify(frame, (key, value) => {
    if (!ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer)) return value;
    throw new TypeError("binary data is not JSON");
  });

// A room that handles hold, and its members as the frames of the server say.
class HeldRoom {
  members = new Map();
  count = 0;
  listeners = new Set();
  handles = 0;
  watched = false; // whether the page looks at `joined`
  #partial = true; // whether members may be missing

  // What a reply or `joinedRoom` has; returns the id after which to ask for more.
  set({ members, count, more }) {
    this.members.clear();
    return this.add({ members, count, more });
  }

  add({ members, count, more }) {
    this.#partial = !members;
    this.count = count ?? 0;
    this.#put(members);
    this.#tell();
    return more && members.length ? members.at(-1).id : undefined;
  }

  // A `presence` frame; returns whether all members must be asked for.
  change({ count, joined, left, changed }) {
    this.count = count;
    if (!joined) {
      this.#partial = true; // too many are shown no more
      this.members.clear();
    } else {
      if (this.#partial) return true;
      this.#put(joined, changed);
      for (const id of left) this.members.delete(id);
    }
    this.#tell();
    return false;
  }

  #put(...lists) {
    for (const card of lists.flatMap((list) => list ?? [])) this.members.set(card.id, card);
  }

  #tell() {
    for (const listener of [...this.listeners]) listener();
  }
}

// What `socket.room(name)` returns: one component's hold on a room.
class Room {
  #socket;
  #held;
  #release;
  #stops = new Set();

  constructor(name, socket, held, release) {
    this.name = name;
    this.#socket = socket;
    this.#held = held;
    this.#release = release;
  }

  get members() {
    return this.#held.members;
  }

  get count() {
    return this.#held.count;
  }

  get joined() {
    this.#held.watched = true;
    return this.#held.joined;
  }

  on(event, listener) {
    const stop = this.#socket.on(event, (message, sender, room, time) => {
      if (room === this.name) listener(message, sender, room, time);
    });
    return this.#until(stop);
  }

  onMembers(listener) {
    const tell = () => listener([...this.members.values()]);
    this.#held.listeners.add(tell);
    if (this.count) tell();
    return this.#until(() => this.#held.listeners.delete(tell));
  }

  async leave() {
    for (const stop of this.#stops) stop();
    this.#stops.clear();
    const release = this.#release;
    this.#release = () => {};
    await release();
  }

  #until(stop) {
    this.#stops.add(stop);
    return stop;
  }
}

class Socket {
  id = null;
  state = "closed";
  dropped = 0;

  #url;
  #options;
  #listeners = new Map(); // an event, or a symbol above -> functions
  #queue = []; // frames that wait for a connection
  #calls = new Map(); // a frame's id -> the call that waits for its answer
  #frames = 0; // ids used so far; each is used once, so a late answer cannot settle another call
  #joins = new Map(); // a room -> its pending join
  #offsets = new Map(); // a room it is in -> the last offset, undefined without a history
  #held = new Map(); // a room that handles hold -> its HeldRoom
  #leaving = new Map(); // a room whose last frames may still arrive -> the call that left it
  // Of the first connection, also after `open`: by it the server leaves out our own messages. It
  // gives no access: the guards decide about each room again.
  #session;
  #limit = Infinity; // bytes of a frame that the server accepts, once it has said so
  #link; // the connection or the attempt; events of an earlier one are ignored
  #tries = 0;
  #timer; // of the next attempt, or the timeout of this one

  constructor(url, options) {
    this.#url = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#url.hash = "";
    const { params, buffer = 100, maxRetries = Infinity } = options ?? {};
    const { retryAfter = 500, connectTimeout = 10_000 } = options ?? {};
    const { WebSocket = globalThis.WebSocket } = options ?? {};
    this.#options = { params, buffer, maxRetries, retryAfter, connectTimeout, WebSocket };
    this.open();
  }

  open() {
    if (this.state !== "closed") return;
    for (const type of WAKING) globalThis.addEventListener?.(type, this.#wake);
    this.#tries = 0;
    this.#connect();
  }

  get rooms() {
    return [...this.#offsets.keys()].filter((room) => room);
  }

  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
    return () => this.off(event, listener);
  }

  once(event, listener) {
    const stop = this.on(event, (...values) => {
      stop();
      listener(...values);
    });
    return stop;
  }

  off(event, listener) {
    if (listener) this.#listeners.get(event)?.delete(listener);
    else this.#listeners.delete(event);
  }

  onOpen(listener) {
    return this.on(OPEN, listener);
  }

  onClose(listener) {
    return this.on(CLOSE, listener);
  }

  onState(listener) {
    return this.on(STATE, listener);
  }

  onError(listener) {
    return this.on(ERROR, listener);
  }

  onResync(listener) {
    return this.on(RESYNC, listener);
  }

  onConnected(listener) {
    return this.on(CONNECTED, listener);
  }


  emit(event, message, { volatile = false } = {}) {
    const text = encode({ event, message });
    if (!volatile || this.#up) this.#write({ event, text });
  }

  request(event, message, { timeout = 10_000, signal } = {}) {
    return this.#call(event, message, { timeout, signal });
  }

  joinRoom(room, history) {
    if (this.state === "closed") return Promise.reject(closed());
    this.#leaving.delete(room);
    if (!this.#joins.has(room)) {
      const join = {};
      join.promise = new Promise((resolve, reject) => Object.assign(join, { resolve, reject }));
      this.#joins.set(room, Object.assign(join, { history }));
      if (this.#link.greeted) this.#join(room);
    }
    const join = this.#joins.get(room);
    join.history ??= history; // if it is not sent yet, or is sent again
    return join.promise;
  }

  async leaveRoom(room) {
    const leave = {};
    const over = () => this.#leaving.get(room) === leave && this.#leaving.delete(room);
    const left = () => {
      over();
      this.#offsets.delete(room);
    };
    this.#leaving.set(room, leave);
    // The promise of a join that is under way stays pending: nobody waits for it any more, so a
    // rejection would be an unhandled one.
    this.#joins.delete(room);
    this.#offsets.delete(room);
    try {
      await this.#call("leaveRoom", room, { done: left });
    } catch (error) {
      if (!GONE.includes(error.code)) throw error;
    } finally {
      over();
    }
  }

  room(name) {
    let held = this.#held.get(name);
    if (!held) {
      this.#held.set(name, (held = new HeldRoom()));
      held.joined = this.joinRoom(name);
      held.joined.catch((error) => {
        if (this.#held.get(name) === held) this.#held.delete(name); // the next handle joins again
        if (!held.watched) this.#fail(error);
      });
    }
    held.handles += 1;
    return new Room(name, this, held, () => {
      held.handles -= 1;
      if (held.handles || this.#held.get(name) !== held) return undefined;
      this.#held.delete(name);
      return this.leaveRoom(name);
    });
  }

  close(code = 1000, reason = "") {
    if (this.state === "closed") return;
    this.#link.socket?.close(code, reason);
    this.#end(code, reason, true);
  }

  // -- connecting and reconnecting ---------------------------------------------------------------

  async #connect() {
    clearTimeout(this.#timer);
    const link = (this.#link = {});
    const over = (code, reason) => this.#link === link && this.#end(code, reason);
    const time = Math.min(this.#options.connectTimeout, LONGEST);
    this.#timer = setTimeout(over, time, 1006, "timeout");
    this.#enter("connecting");
    const url = new URL(this.#url);
    const { params, WebSocket } = this.#options;
    try {
      // It waits in any case, so that listeners that are added after `connect` get the errors.
      const given = await (typeof params === "function" ? params() : params);
      for (const [name, value] of new URLSearchParams(given)) url.searchParams.set(name, value);
    } catch (error) {
      if (this.#link === link) this.#fail(error);
      over(1006, String(error));
      return;
    }
    if (this.#link !== link) return;
    const resumable = [...this.#offsets.values()].some((offset) => offset !== undefined);
    const protocols = resumable ? ["wsroom.1.resume", "wsroom.1"] : ["wsroom.1"];
    let socket;
    try {
      socket = link.socket = new WebSocket(String(url), protocols);
    } catch ({ message }) {
      // The next attempt would fail too.
      const reason = WebSocket ? message : "there is no WebSocket; use the option { WebSocket }";
      this.#end(1006, reason, true);
      this.#fail(closed(reason));
      return;
    }
    socket.onopen = () => this.#link === link && this.#tell(OPEN);
    socket.onmessage = ({ data }) => this.#link === link && this.#receive(JSON.parse(data));
    socket.onerror = () => {
      // Browsers log it themselves.
      if (this.#link === link) this.#tell(ERROR, new WSRoomError("lost", "the connection failed"));
    };
    socket.onclose = ({ code, reason }) => over(code, reason);
  }

  // Handles `online` and similar events: a timer may be suspended in a hidden page.
  #wake = ({ type }) => {
    // The connection is dead, but the browser may take minutes to report it.
    if (type === "offline") this.#link.socket && this.#end(1006, "offline");
    else if (type !== "visibilitychange" || !document.hidden) {
      if (this.state === "waiting") this.#connect();
    }
  };

  #end(code, reason, wanted) {
    const { socket, greeted } = this.#link;
    this.#link = {};
    clearTimeout(this.#timer);
    socket?.close();
    this.id = null;
    if (greeted && performance.now() - greeted > STEADY) this.#tries = 0;
    const refused = code === 1008 || (code >= 4400 && code < 4500);
    const final = wanted || refused || this.#tries >= this.#options.maxRetries;
    for (const [id, { sent }] of this.#calls) {
      if (sent) this.#settle(id, new WSRoomError("lost", "the connection ended before the answer"));
    }
    if (final) this.#finish(reason);
    else this.#timer = setTimeout(() => this.#connect(), this.#pause());
    this.#enter(final ? "closed" : "waiting");
    this.#tell(CLOSE, { code, reason });
  }

  // Full jitter: clients that lost the same server reconnect at times that are evenly spread over
  // an interval, which doubles each time. It begins at the floor: rounding shorter pauses up to the
  // floor would make a burst there.
  #pause() {
    const { retryAfter } = this.#options;
    const grown = retryAfter * 2 ** Math.min(this.#tries++, 30);
    const most = Math.min(Math.max(CAP, retryAfter), grown);
    return FLOOR + Math.random() * Math.max(0, most - FLOOR);
  }

  #finish(reason) {
    for (const type of WAKING) globalThis.removeEventListener?.(type, this.#wake);
    this.dropped += this.#queue.length;
    this.#queue = [];
    for (const id of this.#calls.keys()) this.#settle(id, closed(reason));
    for (const room of this.#joins.keys()) this.#refuse(room, closed(reason));
  }

  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    this.#tell(STATE, state);
  }

  // -- frames -----------------------------------------------------------------------------------

  get #up() {
    const { socket } = this.#link;
    return this.state === "open" && socket.readyState === socket.OPEN;
  }

  // Sends a frame now, or lets it wait for a connection.
  #write({ id, event, text }, now = this.#up) {
    // A character of a string has at most three bytes, so the length usually decides.
    const limit = this.#limit;
    if (text.length * 3 > limit && new TextEncoder().encode(text).length > limit) {
      const detail = `a frame must have at most ${limit} bytes`;
      const error = new WSRoomError("too_large", detail, { event });
      if (id) this.#settle(id, error);
      else this.#fail(error);
    } else if (now) {
      const call = this.#calls.get(id);
      if (call) call.sent = true;
      this.#link.socket.send(text);
    } else {
      this.#queue.push({ id, event, text });
      if (this.state === "closed" || this.#queue.length > this.#options.buffer) {
        this.dropped += 1;
        const oldest = this.#queue.shift();
        this.#settle(oldest.id, new WSRoomError("dropped", "too many frames wait for a connection"));
      }
    }
  }

  // `done` is called with the answer before the next frame is handled; a promise may be later.
  // With `now` the frame is sent before the connection is ready.
  #call(event, message, { timeout = LONGEST, signal, now, done } = {}) {
    return new Promise((resolve, reject) => {
      if (this.state === "closed") throw closed();
      const id = ++this.#frames;
      const text = encode({ id, event, message });
      signal?.throwIfAborted();
      const give = (error) => {
        this.#queue = this.#queue.filter((frame) => frame.id !== id);
        this.#settle(id, error);
      };
      const late = new WSRoomError("timeout", "no answer in time", { event });
      const timer = setTimeout(give, Math.min(timeout, LONGEST), late);
      const abort = () => give(signal.reason);
      signal?.addEventListener("abort", abort);
      const end = () => signal?.removeEventListener("abort", abort);
      this.#calls.set(id, { resolve, reject, timer, done, end });
      this.#write({ id, event, text }, now);
    });
  }

  #settle(id, error, message) {
    const call = this.#calls.get(id);
    if (!call) return;
    this.#calls.delete(id);
    clearTimeout(call.timer);
    call.end();
    if (error !== null) return call.reject(error);
    call.done?.(message);
    call.resolve(message);
  }

  #receive(frame) {
    const { event, message, sender, room, id, offset, time } = frame;
    const late = this.#joins.get(room)?.late;
    if (offset !== undefined && !late) this.#stand(room ?? "", offset);
    if (event === "connected") {
      this.id = message.id;
      this.#greet(frame);
    } else if (event === "resync") {
      if (message.offset) this.#stand(message.room ?? "", message.offset);
      this.#tell(RESYNC, message.room);
    } else if (event === "joinedRoom") {
      this.#stand(message.room, message.offset ?? this.#offsets.get(message.room));
      this.#show(message.room, message);
    } else if (event === "leftRoom") {
      this.#offsets.delete(message.room);
      this.#held.get(message.room)?.set({});
    } else if (event === "presence" && this.#offsets.has(message?.room)) {
      const all = this.#held.get(message.room)?.change(message);
      if (all) this.#showMore(message.room);
    } else if (event === "error") {
      const { code, detail, event, data } = message;
      const error = new WSRoomError(code, detail, { event, data });
      if (id === undefined) this.#fail(error);
      else this.#settle(id, error);
    } else if (event === "reply") {
      this.#settle(id, null, message);
    }
    this.#tell(event, message, sender, room, time);
    this.#tell("*", frame);
  }

  #tell(event, ...values) {
    const listeners = [...(this.#listeners.get(event) ?? [])];
    for (const listener of listeners) {
      try {
        listener(...values);
      } catch (error) {
        // The other listeners are still called; the error is reported as uncaught.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    return listeners.length;
  }

  #fail(error) {
    if (!this.#tell(ERROR, error)) console.error(error);
  }

  // -- rooms ------------------------------------------------------------------------------------

  #stand(room, offset) {
    if (!this.#leaving.has(room)) this.#offsets.set(room, offset);
  }

  // Hands the members in an answer to the handles of the room.
  #show(room, answer) {
    const held = this.#held.get(room);
    const after = held && answer.count !== undefined ? held.set(answer) : undefined;
    if (after !== undefined) this.#showMore(room, after);
  }

  // Asks for the members after one, or for all; the answers are in order with `presence`.
  #showMore(room, after) {
    const held = this.#held.get(room);
    const done = (answer) => {
      if (this.#held.get(room) !== held) return;
      const next = after === undefined ? held.set(answer) : held.add(answer);
      if (next !== undefined) this.#showMore(room, next);
    };
    this.#ask("members", { room, after }, done).catch((error) => {
      if (!GONE.includes(error.code) && this.#held.get(room) === held) this.#fail(error);
    });
  }

  #forget(room, error) {
    this.#offsets.delete(room);
    this.#held.get(room)?.set({});
    this.#refuse(room, error);
  }

  #refuse(room, error) {
    const join = this.#joins.get(room);
    this.#joins.delete(room);
    join?.promise.catch(() => {}); // no unhandled rejection if the caller ignores the promise
    join?.reject(error);
  }

  #joined(room, answer) {
    this.#stand(room, answer.offset);
    this.#show(room, answer);
    this.#joins.get(room)?.resolve({ room, ...answer });
    this.#joins.delete(room);
  }

  #ask(event, message, done) {
    return this.#call(event, message, { now: true, done });
  }

  // A join stays pending until it is answered, also over several connections.
  async #join(room) {
    const join = this.#joins.get(room);
    // In a room that is live already, the history is no place to continue from.
    join.late = join.history && this.state === "open" && this.#offsets.has(room);
    const message = join.history ? { ...join.history, room } : room;
    const done = (answer) => this.#joins.get(room) === join && this.#joined(room, answer);
    try {
      await this.#ask("joinRoom", message, done);
    } catch (error) {
      if (error.code === "lost" || this.#joins.get(room) !== join) return;
      this.#joins.delete(room);
      join.reject(error);
    }
  }

  // After `connected`: first all rooms, then the frames that waited, then the listeners.
  async #greet({ message, sender, room }) {
    const link = this.#link;
    const again = this.#session !== undefined;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#link === link && this.#end(1006, "timeout"), SETUP);
    link.greeted = performance.now();
    this.#session ??= message.session;
    this.#limit = message.limits?.frame ?? Infinity;
    const known = [...this.#offsets];
    for (const [name, offset] of Object.entries({ "": undefined, ...message.rooms })) {
      if (!this.#offsets.get(name)) this.#stand(name, offset);
    }
    let lost;
    try {
      const returned = again ? this.#return(link, known) : [];
      const joined = [...this.#joins.keys()].map((name) => this.#join(name));
      [lost] = await Promise.all([returned, ...joined]);
    } catch (error) {
      if (this.#link !== link) return;
      // If `resume` is refused for good, the next attempt joins the rooms without it.
      if (!TRANSIENT.includes(error.code)) for (const [name] of known) this.#stand(name);
      this.#end(1006, error.message);
      return;
    }
    if (this.#link !== link) return;
    clearTimeout(this.#timer);
    this.state = "open";
    for (const frame of this.#queue.splice(0)) this.#write(frame);
    if (this.#link !== link) return; // closed by a listener of an error
    this.#tell(STATE, "open");
    for (const name of lost) this.#tell(RESYNC, name || null);
    if (this.#link === link) this.#tell(CONNECTED, message, sender, room);
  }

  // Rejoins the rooms of the last connection; returns those in which messages were lost.
  async #return(link, known) {
    const rooms = Object.fromEntries(known.filter(([, offset]) => offset !== undefined));
    const done = (room, answer) => {
      if (!answer.error && this.#offsets.has(room)) this.#joined(room, answer);
    };
    const resumed = ({ rooms }) => Object.entries(rooms).forEach((entry) => done(...entry));
    const resume = Object.keys(rooms).length
      ? this.#ask("resume", { session: this.#session, rooms }, resumed)
      : { rooms };
    const bare = known.filter(([, offset]) => offset === undefined);
    const joins = bare.map(async ([room]) => {
      // Without a history there is nothing to resume, and what was missed is unknown.
      const ask = room && this.#ask("joinRoom", room, (answer) => done(room, answer));
      return [room, (await Promise.resolve(ask).catch(({ code }) => ({ error: code }))) || {}];
    });
    const answers = Object.entries((await resume).rooms);
    answers.push(...(await Promise.all(joins)));
    if (this.#link !== link) return [];
    const lost = [];
    for (const [room, { error, recovered }] of answers) {
      if (TRANSIENT.includes(error)) throw new WSRoomError(error, `cannot join ${room} now`);
      if (!this.#offsets.has(room)) continue; // left meanwhile
      if (error) {
        const refusal = new WSRoomError(error, `cannot join ${room} again`, { room });
        this.#forget(room, refusal);
        this.#fail(refusal);
      } else if (!recovered) lost.push(room);
    }
    return lost;
  }
}

const connect = (url, options) => new Socket(url, options);

export { connect, connect as default, WSRoomError };
