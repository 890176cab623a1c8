# Mutant "slots read before the Node": P1, P3: its own cordon without a slot
search alone
A: reads the slots before its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads the slots before its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: gets the answer to its claim of slot 0
A: reads the slots before its Node
A: a person frees slot 0
A: reads slots and host, sends the cordon
A: the API applies its cordon
---
A: reads the slots before its Node
    cannot happen; instead: A: reads its Node
