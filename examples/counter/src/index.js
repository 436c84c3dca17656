// Counters with names: each one is an actor of its own, and what it answered survives a crash of the server.
//
//   curl -X POST http://localhost:8787/apples    ->   {"name":"apples","value":1}
//   curl http://localhost:8787/apples            ->   {"name":"apples","value":1}

import { DurableObject } from "cloudflare:workers";

/** One counter. Its methods run one at a time, wherever the callers are. */
export class Counter extends DurableObject {
  /** The value; 0 before the first increment. */
  async value() {
    return (await this.ctx.storage.get("value")) ?? 0;
  }

  /** Adds 1 and returns the new value. No lock is needed: no other call enters while storage is awaited. */
  async increment() {
    const value = (await this.value()) + 1;
    this.ctx.storage.put("value", value);
    // The answer leaves this actor only when the write above is on disk.
    return value;
  }
}

export default {
  /** GET /NAME reads the counter, POST /NAME increments it. */
  async fetch(request, env) {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (name === "") {
      return new Response("GET /NAME reads a counter, POST /NAME increments it\n");
    }
    const counter = env.COUNTER.getByName(name);
    switch (request.method) {
      case "GET":
        return Response.json({ name, value: await counter.value() });
      case "POST":
        return Response.json({ name, value: await counter.increment() });
      default:
        return new Response("only GET and POST\n", { status: 405, headers: { allow: "GET, POST" } });
    }
  },
};
