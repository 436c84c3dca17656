// TextEncoder and TextDecoder of the Encoding standard; natives do the work. Between the chunks of a stream a UTF-8
// decoder keeps the bytes of an incomplete character itself. The other encodings have a native twin that remembers; it
// is freed when the stream ends, and natives bound how many there are.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { ops } = lethe;

class TextEncoder {
  #brand = true;
  constructor() {}
  get encoding() {
    this.#brand;
    return "utf-8";
  }
  encode(input = "") {
    this.#brand;
    return ops.utf8Encode(idl.domString(input));
  }
  encodeInto(source, destination) {
    this.#brand;
    const where = "Failed to execute 'encodeInto' on 'TextEncoder'";
    idl.required(arguments, 2, where);
    const text = idl.domString(source);
    if (p.typedArrayTag(destination) !== "Uint8Array") {
      throw new p.TypeError(`${where}: the destination is not a Uint8Array`);
    }
    const counts = new p.Uint32Array(2);
    ops.utf8EncodeInto(text, destination, counts);
    return { read: counts[0], written: counts[1] };
  }
}
idl.iface(TextEncoder, "TextEncoder");

const EMPTY = () => new p.Uint8Array(0);

class TextDecoder {
  #encoding;
  #fatal;
  #ignoreBOM;
  // Of UTF-8: the start of a character, and whether a byte order mark can still come.
  #pending = null;
  #atStart = true;
  // Of the others: id of the native decoder while a stream of chunks is open.
  #native = null;

  constructor(label = "utf-8", options = undefined) {
    const where = "Failed to construct 'TextDecoder'";
    const name = idl.domString(label);
    const { fatal, ignoreBOM } = idl.dictionary(options, where);
    const encoding = ops.encodingFor(name);
    if (encoding === undefined) throw new p.RangeError(`${where}: '${name}' is not an encoding label`);
    this.#encoding = encoding;
    this.#fatal = !!fatal;
    this.#ignoreBOM = !!ignoreBOM;
  }
  get encoding() {
    return this.#encoding;
  }
  get fatal() {
    return this.#fatal;
  }
  get ignoreBOM() {
    return this.#ignoreBOM;
  }
  decode(input = undefined, options = undefined) {
    const where = "Failed to execute 'decode' on 'TextDecoder'";
    const encoding = this.#encoding;
    const bytes = input === undefined ? EMPTY() : idl.bufferSource(input, where);
    const stream = !!idl.dictionary(options, where).stream;
    const text = encoding === "utf-8" ? this.#decodeUtf8(bytes, stream) : this.#decodeOther(bytes, stream);
    if (text === undefined) throw new p.TypeError(`${where}: the data is not valid ${encoding}`);
    return text;
  }

  #decodeUtf8(bytes, stream) {
    let whole = this.#pending === null ? bytes : joined(this.#pending, bytes);
    this.#pending = null;
    if (stream) {
      const count = ops.utf8Incomplete(end(whole, 3));
      if (count > 0) {
        this.#pending = p.typedArraySlice(end(whole, count));
        whole = view(whole, 0, whole.length - count);
      }
    }
    const text = ops.decode("utf-8", whole, this.#fatal, this.#ignoreBOM || !this.#atStart);
    this.#atStart = !stream || text === undefined || (this.#atStart && whole.length === 0);
    return text;
  }

  #decodeOther(bytes, stream) {
    if (this.#native === null && !stream) return ops.decode(this.#encoding, bytes, this.#fatal, this.#ignoreBOM);
    this.#native ??= ops.decoderOpen(this.#encoding, this.#fatal, this.#ignoreBOM);
    const native = this.#native;
    // Should the push throw, the next call starts anew.
    this.#native = null;
    const text = ops.decoderPush(native, bytes, !stream);
    if (stream && text !== undefined) this.#native = native;
    return text;
  }
}

function joined(left, right) {
  const bytes = new p.Uint8Array(left.length + right.length);
  p.typedArraySet(bytes, left, 0);
  p.typedArraySet(bytes, right, left.length);
  return bytes;
}

function view(bytes, start, length) {
  return new p.Uint8Array(p.typedArrayBuffer(bytes), p.typedArrayByteOffset(bytes) + start, length);
}

/** The last `count` bytes, or all if there are fewer. */
function end(bytes, count) {
  const length = p.min(count, bytes.length);
  return view(bytes, bytes.length - length, length);
}

idl.iface(TextDecoder, "TextDecoder");

return { TextEncoder, TextDecoder };
