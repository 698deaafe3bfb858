"""Training: from labelled series and a prepared loss to the best of several networks.

A net of skorch (`loop`) trains each network. skorch owns the loop over epochs, the history, the
device, the held-out cases, and the callbacks: early stopping, the progress bar and an end from
outside are callbacks of this package (`callbacks`), and users bring their own.

The inside of an epoch is not skorch's. The optimiser (`one_cycle_adam`) moves all parameters as one
flat tensor, because the bookkeeping of ``torch.optim`` would take longer than a network of a few
hundred weights. A whole epoch on the CPU is one compiled call (`compiled_epoch`) if the network
runs on a kernel and the objective (`objective`) can give its comparisons as arrays; otherwise torch
takes a step a batch. So callbacks hear of epochs, and of a training's begin and end, but never of
batches; a callback that scores asks the net anew, instead of reading the batches' scores.

`plan` turns an estimator's parameters into decisions, `data` standardises series and cuts batches,
and `restarts` puts it all together.
"""
