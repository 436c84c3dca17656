// What actors and their callers say to one another: arguments and results as bytes of V8's serializer, failures as
// records that become errors again on the other side.
"use strict";

const p = lethe.use("primordials");
const { ops } = lethe;

/** Largest serialized arguments or result of one call. */
const MESSAGE_BYTES_MAX = 32 * 1024 * 1024;

const CONSTRUCTORS = { __proto__: null, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

/**
 * Serializes `value`; `what` names it in errors. V8's own DataCloneError says what could not be cloned, this adds where
 * it was. Any other error, such as one that a getter threw, passes as it is.
 */
function encode(value, what) {
  let bytes;
  try {
    bytes = ops.serialize(value);
  } catch (error) {
    if (error?.name !== "DataCloneError") throw error;
    if (p.stringEndsWith(`${error.message}`, "out of memory.")) {
      throw new p.RangeError(`${what}: too large when serialized, the limit is ${MESSAGE_BYTES_MAX} bytes`);
    }
    throw lethe.use("entry").dataCloneError(`${what}: ${error.message}`);
  }
  const size = p.typedArrayByteLength(bytes);
  if (size > MESSAGE_BYTES_MAX) {
    throw new p.RangeError(`${what}: ${size} bytes when serialized, the limit is ${MESSAGE_BYTES_MAX}`);
  }
  return bytes;
}

/** Serializes the arguments of `method`. When that fails, finds the argument to blame. */
function encodeArgs(method, args) {
  try {
    return encode(args, `the arguments of ${method}()`);
  } catch (error) {
    if (error?.name === "DataCloneError") {
      for (let i = 0; i < args.length; i++) encode(args[i], `argument ${i + 1} of ${method}()`);
    }
    throw error;
  }
}

/**
 * The error of a failed call, from what `call_actor` said: `{kind, outcome, name, message, stack}`. An exception of the
 * actor's own code is `remote` and keeps its name, message and stack; the other kinds are named by the runtime. `outcome`
 * is "done", "not done" or "unknown": whether the call took effect.
 */
function remoteError({ kind, outcome, name, message, stack }) {
  const Constructor = CONSTRUCTORS[name] ?? p.Error;
  const error = new Constructor(message);
  if (error.name !== name) hidden(error, "name", name);
  hidden(error, "stack", stack !== "" ? stack : ownFrames(error.stack));
  error.outcome = outcome;
  if (kind === "exception") error.remote = true;
  if (kind === "overloaded") error.overloaded = true;
  if (kind === "reset") error.durableObjectReset = true;
  if (kind === "unavailable" || kind === "reset") error.retryable = true;
  return error;
}

/** A stack without the runtime's own frames. */
function ownFrames(stack) {
  let kept = "";
  let rest = `${stack}\n`;
  while (rest !== "") {
    const end = p.stringIndexOf(rest, "\n");
    const line = p.stringSlice(rest, 0, end);
    if (p.stringIndexOf(line, "lethe:") === -1) kept += kept === "" ? line : `\n${line}`;
    rest = p.stringSlice(rest, end + 1);
  }
  return kept;
}

function hidden(error, key, value) {
  p.defineProperty(error, key, { __proto__: null, value, writable: true, configurable: true, enumerable: false });
}

/** Awaits an op that gives a value or `{failure}`, and throws the failure. */
async function settle(promise) {
  const { value, failure } = await promise;
  if (failure !== undefined) throw remoteError(failure);
  return value;
}

/** JSON of a result. `undefined` has none and becomes `null`. */
function encodeJson(value, what) {
  const text = p.jsonStringify(value) ?? "null";
  if (text.length > MESSAGE_BYTES_MAX) {
    throw new p.RangeError(`${what}: ${text.length} characters of JSON, the limit is ${MESSAGE_BYTES_MAX}`);
  }
  return text;
}

return { encode, encodeArgs, encodeJson, settle };
