//! The gRPC face: decodes a call, hands it to `routing`, encodes what comes back.
