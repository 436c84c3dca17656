// The actor of one chat session: keeps its messages in storage, streams them to everybody who listens, and ends
// itself when nobody has spoken for a while.
//
// A message is stored before anybody sees it. The idle clock is a timer of the living actor: if the server stops, it
// goes on when somebody next calls this session, not by itself.

import { DurableObject } from "cloudflare:workers";

/** Messages a session keeps; the oldest goes when one more comes. */
const MESSAGES_MAX = 500;
/** Listeners a session has at the same time. */
const LISTENERS_MAX = 64;
/** Events that may wait for a slow listener; with one more it is cut off, and comes back for the rest. */
const EVENTS_WAITING_MAX = 256;
/** Between two signs of life to listeners. */
const HEARTBEAT_MS = 15_000;

/** Names in storage sort like numbers: the zeros keep 10 behind 9. */
const messageKey = (number) => `message:${String(number).padStart(12, "0")}`;

export class Session extends DurableObject {
  /** Stream controllers of everybody who listens. */
  #listeners = new Set();
  #lastNumber = 0;
  #lastActiveMs = 0;
  #idleMs;
  #idleTimer;
  #heartbeatTimer;

  constructor(ctx, env) {
    super(ctx, env);
    this.#idleMs = env.IDLE_MINUTES * 60_000;
    // No call enters before this is done.
    ctx.blockConcurrencyWhile(async () => {
      this.#lastActiveMs = (await ctx.storage.get("last_active_ms")) ?? Date.now();
      const [last] = (await ctx.storage.list({ prefix: "message:", reverse: true, limit: 1 })).values();
      this.#lastNumber = last?.number ?? 0;
      this.#watchIdle();
    });
  }

  /** Says that somebody is here. */
  touch() {
    this.#active();
  }

  /** Stores a message and sends it to everybody; returns it with its number and time. */
  async say(name, text) {
    this.#lastNumber += 1;
    const message = { number: this.#lastNumber, at_ms: Date.now(), name, text };
    // Both writes and the removal are one atomic batch: there is no await between them.
    this.#active();
    this.ctx.storage.put(messageKey(message.number), message);
    this.ctx.storage.delete(messageKey(message.number - MESSAGES_MAX));
    await this.ctx.storage.sync();
    this.#broadcast("message", message);
    return message;
  }

  /** Tells everybody who ended the session (nobody: it was idle). The caller destroys this actor next. */
  farewell(name) {
    this.#broadcast("ended", { name });
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    listeners.forEach(close);
    clearInterval(this.#heartbeatTimer);
  }

  /** GET /stream?after=N: stored messages above N, then each new one, as server-sent events. */
  async fetch(request) {
    if (this.#listeners.size >= LISTENERS_MAX) {
      return Response.json({ error: "this session is full" }, { status: 503 });
    }
    const after = Number(new URL(request.url).searchParams.get("after"));
    const stored = await this.ctx.storage.list({ start: messageKey(after + 1), prefix: "message:" });
    let listener;
    const body = new ReadableStream({
      start: (controller) => {
        listener = controller;
        // Between reading the stored messages and listening for new ones nothing else runs: none is missed.
        for (const message of stored.values()) {
          controller.enqueue(event("message", message));
        }
        this.#listeners.add(controller);
        this.#broadcastPresence();
      },
      cancel: () => this.#remove(listener),
    });
    return new Response(body, {
      headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
    });
  }

  #broadcast(type, data) {
    const bytes = event(type, data);
    for (const listener of [...this.#listeners]) {
      if (listener.desiredSize < -EVENTS_WAITING_MAX) {
        this.#remove(listener);
      } else {
        listener.enqueue(bytes);
      }
    }
  }

  #broadcastPresence() {
    this.#broadcast("presence", { listeners: this.#listeners.size });
    clearInterval(this.#heartbeatTimer);
    if (this.#listeners.size > 0) {
      this.#heartbeatTimer = setInterval(() => this.#broadcast("heartbeat", {}), HEARTBEAT_MS);
    }
  }

  #remove(listener) {
    if (this.#listeners.delete(listener)) {
      close(listener);
      this.#broadcastPresence();
    }
  }

  #active() {
    this.#lastActiveMs = Date.now();
    this.ctx.storage.put("last_active_ms", this.#lastActiveMs);
    this.#watchIdle();
  }

  /** Destroys this session once it has been idle long enough. */
  #watchIdle() {
    clearTimeout(this.#idleTimer);
    const left = this.#lastActiveMs + this.#idleMs - Date.now();
    this.#idleTimer = setTimeout(() => this.#expire(), Math.max(0, left));
  }

  #expire() {
    this.farewell(null);
    // Not part of Cloudflare's API: this actor and all it stored are gone when the promise resolves.
    this.ctx.waitUntil(this.ctx.destroy());
  }
}

function close(listener) {
  try {
    listener.close();
  } catch {
    // It was cancelled from the other side, so there is nothing left to close.
  }
}

const encoder = new TextEncoder();

/** One server-sent event. */
function event(type, data) {
  return encoder.encode(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
}
