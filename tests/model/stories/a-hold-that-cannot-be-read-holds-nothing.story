# Mutant "a hold that cannot be read holds nothing": P8: it goes on while a gate cannot be read
search alone
A: reads its Node
A: reads slots and host, sends the claim of slot 0
---
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the claim of slot 0
    slot 0 free | A up, waits for an answer
