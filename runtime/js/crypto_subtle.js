// SubtleCrypto and CryptoKey of the Web Cryptography API: digests, HMAC and AES-GCM. Key material stays in a private
// field and reaches natives only; what each algorithm does is in `crypto_algorithms.js`.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { DOMException } = lethe.use("dom_exception");
const { ops } = lethe;

const INTERNAL = p.freeze({ __proto__: null });
const USAGES = ["encrypt", "decrypt", "sign", "verify", "deriveKey", "deriveBits", "wrapKey", "unwrapKey"];
const FORMATS = ["raw", "pkcs8", "spki", "jwk"];

let keyOf;

class CryptoKey {
  // { type, extractable, algorithm, usages, bytes }
  #key;
  static {
    keyOf = (value) => (idl.isObject(value) && #key in value ? value.#key : undefined);
  }
  constructor(token = undefined, key = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
    this.#key = key;
  }
  get type() {
    return this.#key.type;
  }
  get extractable() {
    return this.#key.extractable;
  }
  get algorithm() {
    return this.#key.algorithm;
  }
  get usages() {
    return this.#key.usages;
  }
}
idl.iface(CryptoKey, "CryptoKey");

function makeKey(bytes, algorithm, extractable, usages) {
  return new CryptoKey(INTERNAL, { type: "secret", extractable, algorithm, usages, bytes });
}

/** "Normalize an algorithm": its registered name, what supports it, and the argument as an object. */
function normalize(value, operation) {
  const algorithms = lethe.use("crypto_algorithms");
  const params = idl.isObject(value) ? value : { __proto__: null, name: idl.domString(value) };
  const { name } = params;
  if (name === undefined) throw new p.TypeError("The algorithm has no name");
  const algorithm = algorithms.find(idl.domString(name), operation);
  if (algorithm === undefined) {
    throw new DOMException(
      `The algorithm '${idl.domString(name)}' is not supported for ${operation}`,
      "NotSupportedError",
    );
  }
  return { algorithm, params };
}

function usagesOf(value, where) {
  const given = idl.sequenceOf(value, (usage) => idl.enumeration(usage, USAGES, where), where);
  // In the order of the standard and each once.
  const usages = [];
  for (let i = 0; i < USAGES.length; i++) if (p.arrayIncludes(given, USAGES[i])) usages[usages.length] = USAGES[i];
  return usages;
}

function checkedKey(value, where) {
  const key = keyOf(value);
  if (key === undefined) throw new p.TypeError(`${where}: the key is not a CryptoKey`);
  return key;
}

function checkUse(key, algorithm, usage) {
  if (key.algorithm.name !== algorithm.name) {
    throw new DOMException(`The key is for ${key.algorithm.name}, not for ${algorithm.name}`, "InvalidAccessError");
  }
  if (!p.arrayIncludes(key.usages, usage)) {
    throw new DOMException(`The key's usages do not include '${usage}'`, "InvalidAccessError");
  }
}

class SubtleCrypto {
  #brand = true;
  constructor(token = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
  }

  async decrypt(algorithm, key, data) {
    this.#brand;
    return cipher("decrypt", arguments);
  }

  async digest(algorithm, data) {
    this.#brand;
    const where = "Failed to execute 'digest' on 'SubtleCrypto'";
    idl.required(arguments, 2, where);
    const bytes = idl.bufferSource(data, where);
    const { algorithm: found } = normalize(algorithm, "digest");
    return p.typedArrayBuffer(ops.digest(found.name, bytes));
  }

  async encrypt(algorithm, key, data) {
    this.#brand;
    return cipher("encrypt", arguments);
  }

  async exportKey(format, key) {
    this.#brand;
    const where = "Failed to execute 'exportKey' on 'SubtleCrypto'";
    idl.required(arguments, 2, where);
    const kind = idl.enumeration(format, FORMATS, where);
    return exportKey(kind, checkedKey(key, where));
  }

  async generateKey(algorithm, extractable, keyUsages) {
    this.#brand;
    const where = "Failed to execute 'generateKey' on 'SubtleCrypto'";
    idl.required(arguments, 3, where);
    const usages = usagesOf(keyUsages, where);
    const { algorithm: found, params } = normalize(algorithm, "generateKey");
    const read = found.generateParams(params);
    checkUsages(found, usages);
    const { bits, keyAlgorithm } = found.generate(read);
    if (usages.length === 0) throw new DOMException("A secret key needs at least one usage", "SyntaxError");
    const bytes = new p.Uint8Array(p.ceil(bits / 8));
    ops.randomFill(bytes);
    if (bits % 8 !== 0) bytes[bytes.length - 1] &= 0xff << (8 - (bits % 8));
    return makeKey(bytes, keyAlgorithm, !!extractable, usages);
  }

  async importKey(format, keyData, algorithm, extractable, keyUsages) {
    this.#brand;
    const where = "Failed to execute 'importKey' on 'SubtleCrypto'";
    idl.required(arguments, 5, where);
    const kind = idl.enumeration(format, FORMATS, where);
    const isJwk = !p.isView(keyData) && !idl.isArrayBuffer(keyData);
    const data = isJwk ? idl.dictionary(keyData, where) : p.typedArraySlice(idl.bufferSource(keyData, where));
    const usages = usagesOf(keyUsages, where);
    const { algorithm: found, params } = normalize(algorithm, "importKey");
    if ((kind === "jwk") !== isJwk) throw new p.TypeError(`${where}: the key data does not fit the format '${kind}'`);
    return importKey(kind, data, found, found.importParams(params), !!extractable, usages);
  }

  async sign(algorithm, key, data) {
    this.#brand;
    const where = "Failed to execute 'sign' on 'SubtleCrypto'";
    idl.required(arguments, 3, where);
    const bytes = idl.bufferSource(data, where);
    const { algorithm: found } = normalize(algorithm, "sign");
    const secret = checkedKey(key, where);
    checkUse(secret, found, "sign");
    return p.typedArrayBuffer(found.sign(secret, bytes));
  }

  /** Compares two equally long buffers in a time that does not depend on their contents. */
  timingSafeEqual(a, b) {
    this.#brand;
    const where = "Failed to execute 'timingSafeEqual' on 'SubtleCrypto'";
    idl.required(arguments, 2, where);
    const left = idl.bufferSource(a, where);
    const right = idl.bufferSource(b, where);
    if (p.typedArrayByteLength(left) !== p.typedArrayByteLength(right)) {
      throw new p.TypeError(`${where}: the buffers have different lengths`);
    }
    return ops.equalConstantTime(left, right);
  }

  async verify(algorithm, key, signature, data) {
    this.#brand;
    const where = "Failed to execute 'verify' on 'SubtleCrypto'";
    idl.required(arguments, 4, where);
    const given = idl.bufferSource(signature, where);
    const bytes = idl.bufferSource(data, where);
    const { algorithm: found } = normalize(algorithm, "verify");
    const secret = checkedKey(key, where);
    checkUse(secret, found, "verify");
    return ops.equalConstantTime(found.sign(secret, bytes), given);
  }
}
idl.iface(SubtleCrypto, "SubtleCrypto");

function cipher(operation, args) {
  const where = `Failed to execute '${operation}' on 'SubtleCrypto'`;
  idl.required(args, 3, where);
  const bytes = idl.bufferSource(args[2], where);
  const { algorithm, params } = normalize(args[0], operation);
  const read = algorithm.cipherParams(params);
  const key = checkedKey(args[1], where);
  checkUse(key, algorithm, operation);
  return p.typedArrayBuffer(algorithm[operation](key, read, bytes));
}

function checkUsages(algorithm, usages) {
  for (let i = 0; i < usages.length; i++) {
    if (!p.arrayIncludes(algorithm.usages, usages[i])) {
      throw new DOMException(`${algorithm.name} keys cannot be used to '${usages[i]}'`, "SyntaxError");
    }
  }
}

function importKey(format, data, algorithm, params, extractable, usages) {
  checkUsages(algorithm, usages);
  if (format !== "raw" && format !== "jwk") {
    throw new DOMException(`${algorithm.name} keys have no format '${format}'`, "NotSupportedError");
  }
  const bytes = format === "raw" ? data : fromJwk(data, algorithm, params, extractable, usages);
  const { keyAlgorithm } = algorithm.import(bytes, params);
  if (usages.length === 0) throw new DOMException("A secret key needs at least one usage", "SyntaxError");
  return makeKey(bytes, keyAlgorithm, extractable, usages);
}

function dataError(message) {
  return new DOMException(`The JSON web key ${message}`, "DataError");
}

/** The bytes of an `oct` key, after the checks of the standard. */
function fromJwk(jwk, algorithm, params, extractable, usages) {
  const { alg, ext, k, key_ops: operations, kty, use } = jwk;
  if (kty === undefined || idl.domString(kty) !== "oct") throw dataError("is not of type 'oct'");
  const bytes = k === undefined ? undefined : ops.base64UrlDecode(idl.domString(k));
  if (bytes === undefined) throw dataError("has no valid 'k'");
  const expected = algorithm.jwkAlg(params, bytes);
  if (alg !== undefined && idl.domString(alg) !== expected) throw dataError(`has an 'alg' other than ${expected}`);
  if (usages.length > 0 && use !== undefined && idl.domString(use) !== algorithm.jwkUse) {
    throw dataError(`has a 'use' other than '${algorithm.jwkUse}'`);
  }
  if (operations !== undefined) checkOperations(idl.sequenceOf(operations, idl.domString, "key_ops"), usages);
  if (ext !== undefined && !ext && extractable) throw dataError("is not extractable");
  return bytes;
}

function checkOperations(operations, usages) {
  for (let i = 0; i < operations.length; i++) {
    if (p.arrayIndexOf(operations, operations[i]) !== i) throw dataError("names an operation twice");
  }
  for (let i = 0; i < usages.length; i++) {
    if (!p.arrayIncludes(operations, usages[i])) throw dataError(`does not allow to '${usages[i]}'`);
  }
}

function exportKey(format, key) {
  if (!key.extractable) throw new DOMException("The key is not extractable", "InvalidAccessError");
  if (format === "raw") return p.typedArrayBuffer(p.typedArraySlice(key.bytes));
  if (format === "jwk") {
    const algorithm = lethe.use("crypto_algorithms").find(key.algorithm.name, "importKey");
    return {
      kty: "oct",
      k: ops.base64UrlEncode(key.bytes),
      alg: algorithm.jwkAlg(key.algorithm, key.bytes),
      key_ops: p.arraySlice(key.usages),
      ext: true,
    };
  }
  throw new DOMException(`${key.algorithm.name} keys have no format '${format}'`, "NotSupportedError");
}

return { SubtleCrypto, CryptoKey, subtle: new SubtleCrypto(INTERNAL) };
