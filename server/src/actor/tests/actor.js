// The actor of the room's tests. VERSION is replaced before it is compiled.

import { DurableObject } from "cloudflare:workers";

export class Actor extends DurableObject {
  instanceId = crypto.randomUUID();
  marks = new Map();

  constructor(ctx, env) {
    super(ctx, env);
    const name = ctx.id.name ?? "";
    if (!name.startsWith("slow") || this.version() !== "one") return;
    for (const until = Date.now() + 1000; Date.now() < until; );
    if (name === "slow and broken") throw new Error("broken in one");
  }

  instance() {
    return this.instanceId;
  }

  version() {
    return "VERSION";
  }

  /** Tells the actor `marks` that something happened, so that the test can wait for it. */
  mark(text) {
    return this.env.ACTOR.getByName("marks").marked(text);
  }

  marked(text) {
    this.marks.set(text, this.count(text) + 1);
  }

  count(text) {
    return this.marks.get(text) ?? 0;
  }

  get(name) {
    return this.ctx.storage.get(name);
  }

  put(name, value) {
    this.ctx.storage.put(name, value);
    return null;
  }

  fill(name, length) {
    this.ctx.storage.put(name, "x".repeat(length));
    return null;
  }

  async sizeOfAll() {
    let size = 0;
    for (const value of (await this.ctx.storage.list()).values()) size += value.length;
    return size;
  }

  async size(name) {
    return (await this.ctx.storage.get(name)).length;
  }

  async hold() {
    await this.mark("held");
    return new Promise(() => {});
  }

  linger() {
    return new Promise(() => {});
  }

  async wait(ms) {
    await this.mark("waiting");
    await new Promise((resolve) => setTimeout(resolve, ms));
    return "VERSION";
  }

  /** Answers with a stream that stays open; a request with a body is answered when the first piece of it is here. */
  async fetch(request) {
    if (!request.url.endsWith("/")) return new Response(this.lines(request.url));
    if (!request.body) return new Response(this.open());
    const { value } = await request.body.getReader().read();
    await this.mark(new TextDecoder().decode(value));
    return new Response("heard");
  }

  /** Five lines that wait in JavaScript, which is more than fits what is on its way out. `/open` has no end. */
  lines(url) {
    if (url.endsWith("/whole")) return "whole";
    const start = (controller) => {
      for (let line = 1; line <= 5; line++) controller.enqueue(new TextEncoder().encode(`${line}\n`));
      if (!url.endsWith("/open")) controller.close();
    };
    return new ReadableStream({ start });
  }

  open() {
    return new ReadableStream({ start: (stream) => (this.stream = stream) });
  }

  /** Sends an actor a request whose body stays open. */
  async post(to) {
    const body = this.open();
    const sent = this.env.ACTOR.getByName(to).fetch("http://actor/", { method: "POST", body, duplex: "half" });
    await this.mark("posted");
    await sent;
  }

  /** Writes to the open stream, and never ends. */
  say(text) {
    this.stream.enqueue(new TextEncoder().encode(text));
    return new Promise(() => {});
  }

  /** Writes, closes the open stream, and goes on working in the same turn. */
  async putAndClose(name, value, ms) {
    this.ctx.storage.put(name, value);
    this.stream.close();
    for (let i = 0; i < 20; i++) await null;
    for (const until = Date.now() + ms; Date.now() < until; );
    return null;
  }

  putAndAbort(name, value) {
    this.ctx.storage.put(name, value);
    this.ctx.abort("on purpose");
  }

  async end() {
    await this.ctx.destroy();
    return "still here";
  }

  async relay(to, name, value) {
    this.ctx.storage.put(name, value);
    await this.env.ACTOR.getByName(to).put(name, value);
    return "relayed";
  }
}
