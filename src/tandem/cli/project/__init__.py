"""What `tandem init` writes: what each risk means, a look into the data, and the files. It asks nothing and starts nothing."""
