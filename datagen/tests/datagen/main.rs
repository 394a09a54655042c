//! Tests of datagen from outside: the library, HTTP, Kafka's mock cluster, and the binary.

mod command;
mod esp;
mod load;
mod otto;
mod produce;
mod record;
mod shop;
