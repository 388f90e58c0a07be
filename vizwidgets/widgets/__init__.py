"""The widgets: traits over the engine; they call methods and compute nothing themselves."""
