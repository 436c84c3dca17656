// The test actor of the list workload: items in the order in which they were appended.

import { DurableObject } from "cloudflare:workers";

/** Names sort like places. */
const key = (place) => `item:${String(place).padStart(6, "0")}`;

export class List extends DurableObject {
  /**
   * Puts an item at the end and returns it. Two appends must not take the same place although each waits for storage
   * before it knows its place, and the item and the new length must come to be together.
   */
  async append(item) {
    const length = (await this.ctx.storage.get("length")) ?? 0;
    this.ctx.storage.put(key(length), item);
    this.ctx.storage.put("length", length + 1);
    return item;
  }

  /** All items in their order. */
  async read() {
    return [...(await this.ctx.storage.list({ prefix: "item:" })).values()];
  }
}
