// `ctx.storage`: an actor's records, and transactions over them.
//
// Arguments become exactly what `Storage` takes: lists of names, lists of serialized values. Natives check the limits
// in bytes, keep the input gate shut while a read is away, and give records in the UTF-8 order of their names. Writes
// take effect at once; the promise they return is already resolved, unless the turn has written so much that it must end.
"use strict";

const p = lethe.use("primordials");
const { encode } = lethe.use("actor_wire");
const { ops } = lethe;
const { keys: ownKeys } = Object;
const { Boolean } = globalThis;

const INTERNAL = p.freeze({ __proto__: null });

/** Transactions that are open, outermost first. */
const open = [];

function nameOf(value, method) {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return `${value}`;
  throw new p.TypeError(`${method}(): a name must be a string, got ${typeOf(value)}`);
}

function typeOf(value) {
  return value === null ? "null" : typeof value;
}

function namesOf(list, method) {
  const names = [];
  for (let i = 0; i < list.length; i++) p.arrayPush(names, nameOf(list[i], method));
  return names;
}

function optionsOf(value, method) {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object") throw new p.TypeError(`${method}(): the options must be an object, got ${typeof value}`);
  return value;
}

function decode(bytes, name) {
  try {
    return ops.deserialize(bytes);
  } catch (error) {
    throw new p.Error(`the value of ${p.jsonStringify(name)} cannot be read: ${error.message}`);
  }
}

async function get(key, options) {
  const concurrent = Boolean(optionsOf(options, "get").allowConcurrency);
  if (!p.isArray(key)) {
    const name = nameOf(key, "get");
    const records = await ops.storageGet([name], concurrent);
    return records.length === 0 ? undefined : decode(records[0][1], name);
  }
  return mapOf(await ops.storageGet(namesOf(key, "get"), concurrent));
}

function mapOf(records) {
  const map = new p.Map();
  for (let i = 0; i < records.length; i++) p.mapSet(map, records[i][0], decode(records[i][1], records[i][0]));
  return map;
}

async function put(key, value, options) {
  if (key === null || (typeof key !== "object" && typeof key !== "function")) {
    const name = nameOf(key, "put");
    if (value === undefined) throw new p.TypeError("put() called with undefined value");
    await write([name], [value], optionsOf(options, "put"));
    return;
  }
  const names = [];
  const values = [];
  const fields = ownKeys(key);
  for (let i = 0; i < fields.length; i++) {
    const field = key[fields[i]];
    if (field === undefined) continue;
    p.arrayPush(names, fields[i]);
    p.arrayPush(values, field);
  }
  await write(names, values, optionsOf(value, "put"));
}

function write(names, values, options) {
  const unconfirmed = Boolean(options.allowUnconfirmed);
  const encoded = [];
  for (let i = 0; i < names.length; i++) {
    p.arrayPush(encoded, encode(values[i], `the value of ${p.jsonStringify(names[i])}`));
  }
  return ops.storagePut(names, encoded, unconfirmed, open.length > 0);
}

async function remove(key, options) {
  const unconfirmed = Boolean(optionsOf(options, "delete").allowUnconfirmed);
  if (p.isArray(key)) return ops.storageDelete(namesOf(key, "delete"), unconfirmed);
  return ops.storageDelete([nameOf(key, "delete")], unconfirmed) === 1;
}

async function list(options) {
  const { start, startAfter, end, prefix, reverse, limit, allowConcurrency } = optionsOf(options, "list");
  if (start !== undefined && startAfter !== undefined) {
    throw new p.TypeError("list() cannot be called with both start and startAfter values");
  }
  const range = [
    start === undefined ? undefined : `${start}`,
    startAfter === undefined ? undefined : `${startAfter}`,
    end === undefined ? undefined : `${end}`,
    prefix === undefined ? undefined : `${prefix}`,
  ];
  return mapOf(await ops.storageList(range, Boolean(reverse), limitOf(limit), Boolean(allowConcurrency)));
}

function limitOf(limit) {
  if (limit === undefined) return undefined;
  const count = p.trunc(+limit);
  if (!(count > 0)) throw new p.TypeError("list(): the limit must be positive");
  return p.min(count, 0xffffffff);
}

let close;
let ended;

/** A transaction that is open, or was. */
class DurableObjectTransaction {
  #state = "open";
  #ended = p.promiseWithResolvers();

  static {
    ended = (txn) => txn.#ended.promise;
    close = (txn, how) => {
      if (txn.#state !== "open") return;
      txn.#state = how === "commit" ? "committed" : "rolled back";
      p.arraySplice(open, p.arrayIndexOf(open, txn), 1);
      try {
        if (how === "commit") ops.transactionCommit();
        else ops.transactionRollback();
      } finally {
        txn.#ended.resolve();
      }
    };
  }

  constructor(key) {
    if (key !== INTERNAL) throw new p.TypeError("Illegal constructor: storage.transaction() makes transactions");
    ops.transactionBegin();
    p.arrayPush(open, this);
  }

  #check(method) {
    if (this.#state === "rolled back") throw new p.Error(`Cannot ${method}() on rolled back transaction`);
    if (this.#state === "committed") {
      throw new p.Error(
        `Cannot ${method}() on transaction that has already committed: did you move \`txn\` outside of the closure?`,
      );
    }
  }

  async get(key, options = undefined) {
    this.#check("get");
    return get(key, options);
  }

  async put(key, value, options = undefined) {
    this.#check("put");
    return put(key, value, options);
  }

  async delete(key, options = undefined) {
    this.#check("delete");
    return remove(key, options);
  }

  async list(options = undefined) {
    this.#check("list");
    return list(options);
  }

  deleteAll() {
    throw new p.Error("Cannot call deleteAll() within a transaction");
  }

  rollback() {
    if (this.#state === "rolled back") return;
    this.#check("rollback");
    if (open[open.length - 1] !== this) {
      throw new p.Error("Cannot roll back an outer transaction while a nested transaction is still running");
    }
    close(this, "rollback");
  }
}

/** Ends `txn` after the transactions inside it. */
async function finish(txn, how) {
  for (;;) {
    const at = p.arrayIndexOf(open, txn);
    if (at < 0 || at === open.length - 1) break;
    await ended(open[open.length - 1]);
  }
  close(txn, how);
}

/** Runs `closure` in a transaction; gives `{ value }` or, when it was rolled back because it threw, `{ error }`. */
async function attempt(closure) {
  const txn = new DurableObjectTransaction(INTERNAL);
  let result;
  try {
    result = { __proto__: null, value: await closure(txn) };
  } catch (error) {
    await finish(txn, "rollback");
    return { __proto__: null, error };
  }
  await finish(txn, "commit");
  return result;
}

class DurableObjectStorage {
  constructor(key) {
    if (key !== INTERNAL) throw new p.TypeError("Illegal constructor: an actor's storage is ctx.storage");
  }

  async get(key, options = undefined) {
    return get(key, options);
  }

  async put(key, value, options = undefined) {
    return put(key, value, options);
  }

  async delete(key, options = undefined) {
    return remove(key, options);
  }

  async list(options = undefined) {
    return list(options);
  }

  async deleteAll(options = undefined) {
    if (open.length > 0) throw new p.Error("Cannot call deleteAll() within a transaction");
    ops.storageDeleteAll(Boolean(optionsOf(options, "deleteAll").allowUnconfirmed));
  }

  /** Resolves when every write made before is committed. */
  async sync() {
    await ops.storageSync();
  }

  /**
   * Runs `closure` while nothing else enters the actor. Its writes are kept together when it returns, and undone when it
   * throws or calls `txn.rollback()`.
   */
  async transaction(closure) {
    if (typeof closure !== "function") throw new p.TypeError("transaction() needs a function");
    const result = await lethe.use("section").section(() => attempt(closure));
    if ("error" in result) throw result.error;
    return result.value;
  }
}

for (const interface_ of [DurableObjectStorage, DurableObjectTransaction]) {
  lethe.unclonable(interface_);
  p.defineProperty(interface_.prototype, p.symbolToStringTag, {
    __proto__: null,
    value: interface_.name,
    configurable: true,
  });
}

return { newStorage: () => new DurableObjectStorage(INTERNAL) };
