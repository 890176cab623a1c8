# Mutant "a read settles a lost write": P1, P3: its own cordon without a slot
search alone
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: gets the answer to its claim of slot 0
A: reads its Node
A: reads slots and host, sends the cordon
A: gives up waiting for the answer to its cordon
A: reads its Node
A: reads slots and host, finds that a person holds the node, sends the release of slot 0
A: the API applies its release of slot 0
A: the API applies the late cordon
---
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the claim of slot 0
    cannot happen; instead: A: reads slots and host, sends the confirmation
