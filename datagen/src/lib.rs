//! Datagen.
