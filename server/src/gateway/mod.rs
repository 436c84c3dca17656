//! HTTP(S) in: limits, time-outs, streaming, graceful drain.
