// TextEncoder and TextDecoder of the Encoding standard; natives do the work. A decoder in streaming mode has a native
// twin that keeps what an incomplete character left; it is freed when the stream of chunks ends.
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
  // Id of the native decoder while a stream of chunks is open.
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
    let text;
    if (this.#native === null && !stream) {
      text = ops.decode(encoding, bytes, this.#fatal, this.#ignoreBOM);
    } else {
      this.#native ??= ops.decoderOpen(encoding, this.#fatal, this.#ignoreBOM);
      text = ops.decoderPush(this.#native, bytes, !stream);
      if (!stream || text === undefined) this.#native = null;
    }
    if (text === undefined) throw new p.TypeError(`${where}: the data is not valid ${encoding}`);
    return text;
  }
}
idl.iface(TextDecoder, "TextDecoder");

return { TextEncoder, TextDecoder };
