// Blob and File. The bytes of a Blob are one Uint8Array that nobody changes; a slice is a view of the same memory.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");

const INTERNAL = p.freeze({ __proto__: null });
// As in Workers.
const BLOB_BYTES_MAX = 128 * 1024 * 1024;
const NOT_PRINTABLE = /[^\x20-\x7e]/;

let isBlob;
let bytesOf;
let typeOf;

class Blob {
  #bytes;
  #type;

  static {
    isBlob = (value) => idl.isObject(value) && #bytes in value;
    bytesOf = (blob) => blob.#bytes;
    typeOf = (blob) => blob.#type;
  }

  constructor(blobParts = undefined, options = undefined) {
    if (blobParts === INTERNAL) {
      this.#bytes = options.bytes;
      this.#type = options.type;
      return;
    }
    const where = "Failed to construct 'Blob'";
    const parts = blobParts === undefined ? [] : idl.sequenceOf(blobParts, convertPart, where);
    const { endings, type } = idl.dictionary(options, where);
    const native = endings !== undefined && idl.enumeration(endings, ["transparent", "native"], where) === "native";
    this.#type = type === undefined ? "" : normalizedType(idl.domString(type));
    this.#bytes = joined(parts, native);
  }

  get size() {
    return p.typedArrayByteLength(this.#bytes);
  }
  get type() {
    return this.#type;
  }

  slice(start = undefined, end = undefined, contentType = undefined) {
    const bytes = this.#bytes;
    const { length } = bytes;
    const from = clamped(start, 0, length);
    const to = p.max(from, clamped(end, length, length));
    const type = contentType === undefined ? "" : normalizedType(idl.domString(contentType));
    const view = new p.Uint8Array(p.typedArrayBuffer(bytes), p.typedArrayByteOffset(bytes) + from, to - from);
    return fromBytes(view, type);
  }

  stream() {
    const { make } = lethe.use("body");
    this.#bytes;
    return lethe.use("readable_origin").fromOrigin(make(this, null, null));
  }

  async arrayBuffer() {
    return p.typedArrayBuffer(p.typedArraySlice(this.#bytes));
  }
  async bytes() {
    return p.typedArraySlice(this.#bytes);
  }
  async text() {
    return lethe.ops.utf8Decode(this.#bytes);
  }
}
idl.iface(Blob, "Blob");

class File extends Blob {
  #name;
  #lastModified;
  constructor(fileBits, fileName, options = undefined) {
    const where = "Failed to construct 'File'";
    if (fileBits === INTERNAL) {
      super(INTERNAL, fileName);
      this.#name = fileName.name;
      this.#lastModified = fileName.lastModified;
      return;
    }
    idl.required(arguments, 2, where);
    if (fileBits === undefined) throw new p.TypeError(`${where}: the bits are not a sequence`);
    super(fileBits, options);
    this.#name = idl.usvString(fileName);
    const { lastModified } = idl.dictionary(options, where);
    this.#lastModified = lastModified === undefined ? p.dateNow() : toLong(lastModified);
  }
  get name() {
    return this.#name;
  }
  get lastModified() {
    return this.#lastModified;
  }
  static isFile(value) {
    return idl.isObject(value) && #name in value;
  }
}
const { isFile } = File;
delete File.isFile;
idl.iface(File, "File");

function normalizedType(type) {
  return p.regExpExec(NOT_PRINTABLE, type) === null ? p.toLowerCase(type) : "";
}

/** `long long` of WebIDL, as far as a number can tell. */
function toLong(value) {
  const number = p.trunc(+value);
  return number - number === 0 ? number + 0 : 0;
}

/** A `[Clamp] long long` position; a negative one counts from the end. */
function clamped(value, otherwise, length) {
  if (value === undefined) return otherwise;
  const number = +value;
  const position = p.isNaN(number) ? 0 : p.trunc(number);
  return position < 0 ? p.max(length + position, 0) : p.min(position, length);
}

/** A part as bytes, a Blob or a string. */
function convertPart(part) {
  if (isBlob(part)) return part;
  const bytes = idl.fixedBytesOf(part, "Failed to construct 'Blob'");
  return bytes === undefined ? idl.usvString(part) : bytes;
}

function joined(parts, native) {
  const pieces = [];
  let total = 0;
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i];
    if (typeof part === "string") pieces[i] = lethe.ops.utf8Encode(native ? withUnixLines(part) : part);
    else pieces[i] = isBlob(part) ? bytesOf(part) : part;
    total += p.typedArrayByteLength(pieces[i]);
  }
  if (total > BLOB_BYTES_MAX) {
    throw new p.RangeError(`A Blob of ${total} bytes is larger than the limit of ${BLOB_BYTES_MAX} bytes`);
  }
  const bytes = new p.Uint8Array(total);
  for (let i = 0, at = 0; i < pieces.length; i++) {
    p.typedArraySet(bytes, pieces[i], at);
    at += p.typedArrayByteLength(pieces[i]);
  }
  return bytes;
}

function withUnixLines(text) {
  let result = "";
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\r") {
      result += "\n";
      if (text[i + 1] === "\n") i++;
    } else result += text[i];
  }
  return result;
}

/** A Blob over bytes that nobody will change. */
function fromBytes(bytes, type) {
  return new Blob(INTERNAL, { bytes, type });
}

/** A Blob of strings, Blobs and Uint8Arrays. */
function fromParts(parts) {
  return fromBytes(joined(parts, false), "");
}

/** A File with the bytes of a Blob. */
function asFile(blob, name) {
  const lastModified = isFile(blob) ? blob.lastModified : p.dateNow();
  return new File(INTERNAL, { bytes: bytesOf(blob), type: typeOf(blob), name, lastModified });
}

const exports = { Blob, File, isBlob, isFile, bytesOf, typeOf, fromBytes, fromParts, asFile };
lethe.use("evaluated").blob = exports;
return exports;
