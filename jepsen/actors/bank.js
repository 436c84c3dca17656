// The test actor of the bank workload: accounts between which money moves, and of which none may get lost.

import { DurableObject } from "cloudflare:workers";

const ACCOUNTS = 5;
/** What each account holds before the first transfer. */
const OPENING_BALANCE = 100;

const key = (account) => `account:${account}`;

export class Bank extends DurableObject {
  /** All balances. */
  async read() {
    const stored = await this.ctx.storage.list({ prefix: "account:" });
    return Array.from({ length: ACCOUNTS }, (_, account) => stored.get(key(account)) ?? OPENING_BALANCE);
  }

  /**
   * Moves money, or refuses if there is not enough; answers the two new balances, or null. Both writes must come to
   * be or neither: in one go without a wait between them, or, for even amounts, in a transaction that waits.
   */
  async transfer(from, to, amount) {
    if (amount % 2 !== 0) {
      return await this.#move(this.ctx.storage, from, to, amount, () => {});
    }
    return await this.ctx.storage.transaction((txn) => {
      return this.#move(txn, from, to, amount, () => scheduler.wait(1));
    });
  }

  async #move(storage, from, to, amount, between) {
    const held = await storage.get([key(from), key(to)]);
    const balances = [from, to].map((account) => held.get(key(account)) ?? OPENING_BALANCE);
    if (balances[0] < amount) {
      return null;
    }
    const [left, arrived] = [balances[0] - amount, balances[1] + amount];
    storage.put(key(from), left);
    const wait = between();
    if (wait !== undefined) {
      await wait;
    }
    storage.put(key(to), arrived);
    return [left, arrived];
  }
}
