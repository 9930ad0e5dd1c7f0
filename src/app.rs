//! Builds the parts and starts them: the only place that knows them all.
