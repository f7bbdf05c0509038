"""Virtual servers: several services, merged, shaped and guarded, as one that speaks for all of them."""
