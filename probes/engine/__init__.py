"""How it is measured: what the probes need is united, priced, evaluated on a copy of the network, and checked.

probes      the schedule and everything around training; remembered: what a probe is told of the past
ask         the union of what the probes need; batches: where; plan: in which way; costs, memory: at what price
shadow      the copy of the network; operations: counted
flow        who reads whom; layers: what belongs together; chain: where the network can be entered
step        one probed step
evaluation  the one pure evaluation; ascent: with a shared prefix; collector: reduces what is alive
checks      what is refused
"""
