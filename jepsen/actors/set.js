// The test actor of the set workload: numbers as names in storage, listed in order.

import { DurableObject } from "cloudflare:workers";

/** Names sort like numbers. */
const key = (number) => `n:${String(number).padStart(4, "0")}`;

export class Set extends DurableObject {
  /** Puts a number in and returns it. */
  insert(number) {
    this.ctx.storage.put(key(number), number);
    return number;
  }

  /** Takes a number out and says whether it was there. */
  async remove(number) {
    return [number, await this.ctx.storage.delete(key(number))];
  }

  /** All numbers, in the order in which storage lists them. */
  async read() {
    return [...(await this.ctx.storage.list({ prefix: "n:" })).values()];
  }
}
