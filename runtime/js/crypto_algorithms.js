// The algorithms of SubtleCrypto, each an object with the operations it supports. Parameters are read and checked
// here; natives compute.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { DOMException } = lethe.use("dom_exception");
const { ops } = lethe;

const BLOCK_BITS = { __proto__: null, "SHA-1": 512, "SHA-256": 512, "SHA-384": 1024, "SHA-512": 1024 };
const HMAC_ALGS = { __proto__: null, "SHA-1": "HS1", "SHA-256": "HS256", "SHA-384": "HS384", "SHA-512": "HS512" };
const TAG_BITS = [32, 64, 96, 104, 112, 120, 128];

function hashAlgorithm(name) {
  return { name, operations: ["digest"] };
}

/** The hash of HMAC parameters: a name, or an object with a name. */
function hashOf(params) {
  const { hash } = params;
  if (hash === undefined) throw new p.TypeError("The algorithm has no hash");
  const name = idl.domString(idl.isObject(hash) ? hash.name : hash);
  const found = find(name, "digest");
  if (found === undefined) throw new DOMException(`The hash '${name}' is not supported`, "NotSupportedError");
  return found.name;
}

function hmacParams(params) {
  const hash = hashOf(params);
  const { length } = params;
  return { hash, length: length === undefined ? undefined : idl.enforceRange(length, 2 ** 32 - 1, "HMAC: length") };
}

function hmacKeyAlgorithm(hash, length) {
  return { name: "HMAC", hash: { name: hash }, length };
}

const hmac = {
  name: "HMAC",
  operations: ["sign", "verify", "generateKey", "importKey"],
  usages: ["sign", "verify"],
  jwkUse: "sig",
  jwkAlg: (params) => HMAC_ALGS[typeof params.hash === "string" ? params.hash : params.hash.name],
  generateParams: hmacParams,
  generate({ hash, length }) {
    if (length === 0) throw new DOMException("An HMAC key needs at least one bit", "OperationError");
    const bits = length ?? BLOCK_BITS[hash];
    return { bits, keyAlgorithm: hmacKeyAlgorithm(hash, bits) };
  },
  importParams: hmacParams,
  import(bytes, { hash, length }) {
    const bits = p.typedArrayByteLength(bytes) * 8;
    if (bits === 0) throw new DOMException("An HMAC key needs at least one bit", "DataError");
    if (length !== undefined && (length > bits || length <= bits - 8)) {
      throw new DOMException("The length does not fit the HMAC key", "DataError");
    }
    return { keyAlgorithm: hmacKeyAlgorithm(hash, length ?? bits) };
  },
  sign: (key, data) => ops.hmac(key.algorithm.hash.name, key.bytes, data),
};

const aesGcm = {
  name: "AES-GCM",
  operations: ["encrypt", "decrypt", "generateKey", "importKey"],
  usages: ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
  jwkUse: "enc",
  jwkAlg: (params, bytes) => `A${p.typedArrayByteLength(bytes) * 8}GCM`,
  generateParams({ length }) {
    if (length === undefined) throw new p.TypeError("AES-GCM: length is missing");
    return { length: idl.enforceRange(length, 65535, "AES-GCM: length") };
  },
  generate({ length }) {
    if (length !== 128 && length !== 192 && length !== 256) {
      throw new DOMException("An AES key has 128, 192 or 256 bits", "OperationError");
    }
    return { bits: length, keyAlgorithm: { name: "AES-GCM", length } };
  },
  importParams: () => undefined,
  import(bytes) {
    const bits = p.typedArrayByteLength(bytes) * 8;
    if (bits !== 128 && bits !== 192 && bits !== 256) {
      throw new DOMException("An AES key has 128, 192 or 256 bits", "DataError");
    }
    return { keyAlgorithm: { name: "AES-GCM", length: bits } };
  },
  cipherParams(params) {
    const { additionalData, iv, tagLength } = params;
    if (iv === undefined) throw new p.TypeError("AES-GCM: iv is missing");
    return {
      iv: idl.bufferSource(iv, "AES-GCM: iv"),
      additional:
        additionalData === undefined
          ? new p.Uint8Array(0)
          : idl.bufferSource(additionalData, "AES-GCM: additionalData"),
      tagBits: tagLength === undefined ? 128 : idl.enforceRange(tagLength, 255, "AES-GCM: tagLength"),
    };
  },
  encrypt: (key, params, data) => runGcm(ops.aesGcmEncrypt, key, params, data),
  decrypt: (key, params, data) => runGcm(ops.aesGcmDecrypt, key, params, data),
};

function runGcm(operation, key, { iv, additional, tagBits }, data) {
  if (!p.arrayIncludes(TAG_BITS, tagBits))
    throw new DOMException(`A tag cannot have ${tagBits} bits`, "OperationError");
  if (p.typedArrayByteLength(iv) === 0) throw new DOMException("The iv is empty", "OperationError");
  const result = operation(key.bytes, iv, additional, data, tagBits / 8);
  if (result === undefined)
    throw new DOMException("The data could not be decrypted with this key and these parameters", "OperationError");
  return result;
}

const ALGORITHMS = [
  hashAlgorithm("SHA-1"),
  hashAlgorithm("SHA-256"),
  hashAlgorithm("SHA-384"),
  hashAlgorithm("SHA-512"),
  hmac,
  aesGcm,
];

/** The algorithm of a name, in any case, if it supports the operation. */
function find(name, operation) {
  const upper = p.toUpperCase(name);
  for (let i = 0; i < ALGORITHMS.length; i++) {
    if (ALGORITHMS[i].name === upper)
      return p.arrayIncludes(ALGORITHMS[i].operations, operation) ? ALGORITHMS[i] : undefined;
  }
  return undefined;
}

return { find };
