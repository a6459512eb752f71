"""The law: who may, how much, and the proof. Principals and keys, admit and settle, audit."""
