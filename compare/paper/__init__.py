"""The claims of Radford et al. 2016 on representations, tried on a run: `make paper`.

representations   section 5, D's convolutions as features for another task
walks             sections 4.1 and 6.1, nearest training images and walks in the latent space
seen              section 6.2, what the maps of D answer to
forgetting        section 6.3.1, what G draws without some of its maps
arithmetic        section 6.3.2, sums of noise vectors
"""
