//! A pod's manifest with the sidecar in it: what the admission webhook answers, and what `sidestep inject` prints.
