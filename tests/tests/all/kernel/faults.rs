//! What a platform does to a workload sooner or later, and what is wrong with machines and files: nothing of it may end in
//! an escape, a silent refusal or something left behind.

mod full;
mod gone;
mod lacking;
mod refused;
