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
