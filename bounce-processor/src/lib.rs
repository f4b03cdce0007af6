//! bounce-processor
